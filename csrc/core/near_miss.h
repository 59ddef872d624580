/* What in a legacy prompt comes close to a turn's marker without being one. */
#ifndef LATHE_NEAR_MISS_H
#define LATHE_NEAR_MISS_H

#include "promptlathe.h"

/* `start` is the byte where the last two line breaks before its line begin (the place that a marker
 * would have), or the only one, or where its word stands when there is none. `flaws` completes
 * "it ...". */
typedef struct lathe_near_miss {
    size_t start;
    char flaws[240];
} lathe_near_miss;

/* The most telling near miss of "\n\nHuman:" (or "\n\nAssistant:") in a sanitized text that has no
 * such marker: the first line that begins with the word and a colon, else the first that begins as
 * a marker does, but without the colon. The word may be in any case and have blanks before and
 * behind it. Without a colon it counts only as written and alone after a blank line, or alone on
 * the first line: else every sentence that begins with "Human" would be one. */
bool lathe_near_miss_find(lathe_text text, bool human, lathe_near_miss *miss);

#endif
