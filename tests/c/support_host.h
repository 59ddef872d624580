/* A host for tests: jansson's values, and what jansson does not have. */
#ifndef SUPPORT_HOST_H
#define SUPPORT_HOST_H

#include <jansson.h>

#include "promptlathe.h"

/* jansson's source, but a key that begins with '#' is a number, the string "#other" is of no JSON
 * type, and an empty string comes without bytes. */
lathe_source host_source(void);

/* A sink that passes every event on to jansson's. Without `pass` it is one of another host. */
typedef struct host_builder {
    lathe_jansson_builder inner;
    lathe_sink sink, inner_sink;
    size_t events;
} host_builder;

void host_builder_init(host_builder *builder, bool pass);
void host_builder_clear(host_builder *builder);

/* From now on lists end before the item `length`, as if another thread had cut them; SIZE_MAX: as
 * they are. */
void host_cut_lists(size_t length);

/* Like alloc_try_each: the host's own callbacks (text, item, member and each event of the sink)
 * fail with LATHE_HOST one after the other. */
void host_try_each(lathe_code (*attempt)(void *self), void *self, lathe_code expected);

/* A value from JSON text. Fails the test and gives null when the text is wrong. "\uffff" in it
 * stands for a lone surrogate, as it would come in a host's string. */
json_t *host_value(const char *text);

#endif
