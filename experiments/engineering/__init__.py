"""What no paper asks: the whole path in one run, and whether bf16 trains as float32 does."""
