// All that is compiled once for each type of storage.
#include "tiles.h"
#include "gather.h"
#include "values.h"

#undef LANES
#undef STRIP
#undef RAWS
#undef VECTOR
#undef PAIR
#undef ENTRY
#undef PROGRAM
#undef NAME
#undef REAL
#undef CELL
