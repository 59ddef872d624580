#include <math.h>

#include "alloc.h"
#include "clock.h"
#include "error.h"
#include "promptlathe.h"
#include "walk.h"

/* The longest that a step works on without a look at signals, in seconds. */
static const double budget = 0.02;

/* One request that was added and is not given out. */
typedef struct slot {
    lathe_map_item item;
    bool ended;
    struct slot *next, *previous; /* all of them, in order of the requests */
    struct slot *next_ended;      /* without order: those that ended, as they did */
} slot;

struct lathe_map {
    lathe_loop *loop;
    size_t concurrency, count, in_flight;
    size_t index; /* of the next request */
    bool ordered;
    bool fresh; /* a call was added that no step has sent yet */
    slot *first, *last;
    slot *first_ended, *last_ended;
};

/* ---- Verbs ----------------------------------------------------------------------------------- */

static lathe_code find_verb(lathe_text text, const lathe_path *path, lathe_verb *verb,
                            lathe_faults *faults)
{
    for (lathe_verb known = LATHE_GENERATE; known <= LATHE_TEMPLATIZE; known++)
        if (lathe_text_is(text, lathe_verb_name(known))) {
            *verb = known;
            return LATHE_OK;
        }
    return lathe_path_fault(path, faults, "bad_verb",
                            "there is no such verb: generate, improve and templatize are known");
}

lathe_code lathe_verb_read(const lathe_source *source, const void *value, lathe_verb *verb,
                           lathe_error *error)
{
    const lathe_path path = lathe_path_name(NULL, "verb");
    lathe_faults *faults = &error->faults;
    lathe_text text = {NULL, 0};
    lathe_code code =
        value ? lathe_read_string(source, value, &path, &text, faults)
              : lathe_path_fault(&path, faults, "missing",
                                 "is required: add verb, which is generate, improve or templatize");
    if (!code && text.data)
        code = find_verb(text, &path, verb, faults);
    return lathe_end_rule(error, code, LATHE_INVALID_REQUEST);
}

/* ---- Making one ------------------------------------------------------------------------------ */

lathe_code lathe_map_new(lathe_client *client, size_t concurrency, bool ordered, lathe_map **map,
                         lathe_error *error)
{
    *map = NULL;
    if (concurrency < 1 || concurrency > LATHE_MAP_MOST)
        return lathe_fail(error, LATHE_CONFIGURATION, "concurrency must be from 1 to %d",
                          LATHE_MAP_MOST);
    lathe_map *made = lathe_calloc(1, sizeof *made);
    if (!made)
        return lathe_fail(error, LATHE_MEMORY, NULL);
    made->concurrency = concurrency;
    made->ordered = ordered;
    if (lathe_loop_new(client, &made->loop, error))
        lathe_free(made);
    else
        *map = made;
    return error->code;
}

void lathe_map_free(lathe_map *map)
{
    if (!map)
        return;
    for (slot *s = map->first, *next; s; s = next) {
        next = s->next;
        lathe_call_free(s->item.call);
        lathe_free(s);
    }
    lathe_loop_free(map->loop);
    lathe_free(map);
}

bool lathe_map_is_ours(const lathe_map *map)
{
    return lathe_loop_is_ours(map->loop);
}

/* ---- What is in it --------------------------------------------------------------------------- */

bool lathe_map_wants(const lathe_map *map)
{
    return map->in_flight < map->concurrency && map->count < 2 * map->concurrency;
}

size_t lathe_map_count(const lathe_map *map)
{
    return map->count;
}

static void append(lathe_map *map, slot *s)
{
    s->previous = map->last;
    *(map->last ? &map->last->next : &map->first) = s;
    map->last = s;
    map->count++;
}

static void end(lathe_map *map, slot *s)
{
    s->ended = true;
    if (map->ordered)
        return;
    *(map->last_ended ? &map->last_ended->next_ended : &map->first_ended) = s;
    map->last_ended = s;
}

lathe_code lathe_map_add(lathe_map *map, lathe_call *call, void *kept)
{
    slot *s = lathe_calloc(1, sizeof *s);
    if (!s)
        return LATHE_MEMORY;
    s->item = (lathe_map_item){map->index++, call, kept};
    append(map, s);
    if (!call) {
        end(map, s);
        return LATHE_OK;
    }
    map->in_flight++;
    map->fresh = true;
    lathe_loop_start(map->loop, call, s);
    return LATHE_OK;
}

/* ---- Giving out ------------------------------------------------------------------------------ */

/* Notes the calls that have ended; one that has events, or NULL. */
static slot *look_around(lathe_map *map)
{
    lathe_wait what;
    lathe_call *call;
    while ((call = lathe_loop_reap(map->loop, &what))) {
        slot *s = lathe_call_tag(call);
        if (what == LATHE_WAIT_EVENT)
            return s;
        map->in_flight--;
        end(map, s);
    }
    return NULL;
}

/* The next one to be given out, or NULL. */
static slot *ready(const lathe_map *map)
{
    if (!map->ordered)
        return map->first_ended;
    return map->first && map->first->ended ? map->first : NULL;
}

static lathe_wait give(lathe_map *map, slot *s, lathe_map_item *item)
{
    *item = s->item;
    if (!map->ordered && !(map->first_ended = s->next_ended))
        map->last_ended = NULL;
    *(s->previous ? &s->previous->next : &map->first) = s->next;
    *(s->next ? &s->next->previous : &map->last) = s->previous;
    map->count--;
    lathe_free(s);
    return LATHE_WAIT_DONE;
}

/* False when a signal ended it. */
static bool step(lathe_map *map, double seconds)
{
    map->fresh = false;
    return lathe_loop_step(map->loop, seconds, budget);
}

lathe_wait lathe_map_next(lathe_map *map, double seconds, bool signals, lathe_map_item *item)
{
    const bool wanted = lathe_map_wants(map);
    const double until = lathe_clock() + seconds;
    for (bool stepped = false;; stepped = true) {
        slot *news = look_around(map), *s = ready(map);
        if (news) {
            *item = news->item;
            return LATHE_WAIT_EVENT;
        }
        if (s && !map->fresh) /* what is fresh goes out first: the caller may be away for long */
            return give(map, s, item);
        double left = s ? 0 : until - lathe_clock();
        bool told = !map->count || (!wanted && lathe_map_wants(map)) || (stepped && left <= 0);
        if (!s && told)
            return LATHE_WAIT_AGAIN;
        if (!step(map, fmax(left, 0)) && signals && !s)
            return LATHE_WAIT_AGAIN;
    }
}

void lathe_map_leave(lathe_map *map)
{
    lathe_loop_leave(map->loop);
}
