#include "buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"

void lathe_buf_init(lathe_buf *buf, size_t ceiling)
{
    *buf = (lathe_buf){.ceiling = ceiling < SIZE_MAX / 2 ? ceiling : SIZE_MAX / 2};
}

void lathe_buf_clear(lathe_buf *buf)
{
    lathe_free(buf->data);
    lathe_buf_init(buf, buf->ceiling);
}

lathe_code lathe_buf_reserve(lathe_buf *buf, size_t more)
{
    if (more > buf->ceiling - buf->size)
        return LATHE_TOO_LARGE;
    size_t need = buf->size + more;
    if (buf->data && need <= buf->capacity)
        return LATHE_OK;
    size_t capacity = buf->capacity < 64 ? 64 : buf->capacity * 2;
    if (capacity < need)
        capacity = need;
    if (capacity > buf->ceiling)
        capacity = buf->ceiling;
    char *data = lathe_realloc(buf->data, capacity + 1);
    if (!data)
        return LATHE_MEMORY;
    if (!buf->data)
        data[0] = '\0';
    buf->data = data;
    buf->capacity = capacity;
    return LATHE_OK;
}

lathe_code lathe_buf_append(lathe_buf *buf, const void *data, size_t size)
{
    lathe_code code = lathe_buf_reserve(buf, size);
    if (code)
        return code;
    if (size)
        memcpy(buf->data + buf->size, data, size);
    buf->size += size;
    buf->data[buf->size] = '\0';
    return LATHE_OK;
}

lathe_code lathe_buf_string(lathe_buf *buf, const char *string)
{
    return lathe_buf_append(buf, string, strlen(string));
}

lathe_code lathe_buf_printf(lathe_buf *buf, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    lathe_code code = size < 0 ? LATHE_MEMORY : lathe_buf_reserve(buf, (size_t)size);
    if (!code) {
        vsnprintf(buf->data + buf->size, (size_t)size + 1, format, again);
        buf->size += (size_t)size;
    }
    va_end(again);
    return code;
}

char *lathe_buf_steal(lathe_buf *buf, size_t *size)
{
    if (lathe_buf_reserve(buf, 0))
        return NULL;
    char *data = buf->data;
    if (size)
        *size = buf->size;
    lathe_buf_init(buf, buf->ceiling);
    return data;
}
