/* Reading JSON where there are no vectors: the reader made anew without them, in place of the
 * library's, under the same tests. */
#define LATHE_NO_VECTORS

#include "../../csrc/core/reader.c"

#include "test_reader.c"
