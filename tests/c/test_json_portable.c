/* Writing JSON where there are no vectors: the writer made anew without them, in place of the
 * library's, under the same tests. */
#define LATHE_NO_VECTORS

#include "../../csrc/core/json.c"

#include "test_json.c"
