#include "gunzip.h"

#include <zlib.h>

#include "alloc.h"

struct lathe_gunzip {
    z_stream stream;
    bool complete; /* at the end of a member */
};

static void *zlib_alloc(void *self, unsigned count, unsigned size)
{
    (void)self;
    return lathe_calloc(count, size);
}

static void zlib_free(void *self, void *block)
{
    (void)self;
    lathe_free(block);
}

lathe_gunzip *lathe_gunzip_new(void)
{
    lathe_gunzip *gunzip = lathe_calloc(1, sizeof *gunzip);
    if (!gunzip)
        return NULL;
    gunzip->stream.zalloc = zlib_alloc;
    gunzip->stream.zfree = zlib_free;
    if (inflateInit2(&gunzip->stream, 16 + MAX_WBITS) == Z_OK)
        return gunzip;
    lathe_free(gunzip);
    return NULL;
}

void lathe_gunzip_free(lathe_gunzip *gunzip)
{
    if (!gunzip)
        return;
    inflateEnd(&gunzip->stream);
    lathe_free(gunzip);
}

/* One run of inflate into the room that `out` has. */
static lathe_code inflate_some(lathe_gunzip *gunzip, lathe_buf *out)
{
    z_stream *stream = &gunzip->stream;
    if (gunzip->complete && inflateReset(stream) != Z_OK) /* another member follows */
        return LATHE_CONNECTION;
    gunzip->complete = false;
    size_t room = out->capacity - out->size;
    if (room > 1U << 30)
        room = 1U << 30;
    stream->next_out = (unsigned char *)out->data + out->size;
    stream->avail_out = (unsigned)room;
    int status = inflate(stream, Z_NO_FLUSH);
    out->size += room - stream->avail_out;
    out->data[out->size] = '\0';
    if (status == Z_MEM_ERROR)
        return LATHE_MEMORY;
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
        return LATHE_CONNECTION;
    gunzip->complete = status == Z_STREAM_END;
    return LATHE_OK;
}

lathe_code lathe_gunzip_feed(lathe_gunzip *gunzip, const void *data, size_t size, lathe_buf *out)
{
    z_stream *stream = &gunzip->stream;
    stream->next_in = (unsigned char *)(uintptr_t)data;
    stream->avail_in = (unsigned)size;
    for (;;) {
        /* A ceiling that is reached exactly may still be the end: ask for a byte only then. */
        if (out->capacity == out->size || !out->data) {
            size_t left = out->ceiling - out->size;
            size_t want = size < 512 ? 512 : size;
            lathe_code code = lathe_buf_reserve(out, left < want ? left : want);
            if (code)
                return code;
        }
        bool full = out->capacity == out->size;
        unsigned before = stream->avail_in;
        lathe_code code = inflate_some(gunzip, out);
        if (code)
            return code;
        bool room_left = stream->avail_out > 0;
        if (!stream->avail_in && (room_left || gunzip->complete))
            return LATHE_OK;
        if (full && !gunzip->complete && before && stream->avail_in == before)
            return LATHE_TOO_LARGE;
        if (full && !stream->avail_in)
            return LATHE_OK; /* the rest comes with the next bytes, or shows as incomplete */
    }
}

bool lathe_gunzip_complete(const lathe_gunzip *gunzip)
{
    return gunzip->complete;
}
