#include "outgoing.h"

#include <stdint.h>
#include <string.h>

#include "buf.h"
#include "transport.h"

static const char required_beta[] = "prompt-tools-2025-04-02";

static bool is_among(const char *beta, const lathe_options *options, size_t before)
{
    for (size_t i = 0; i < before; i++)
        if (!strcmp(beta, options->betas[i]))
            return true;
    return false;
}

/* Comma-joined, without repeats: the one that the documented endpoints ask for, the client's, the
 * call's. */
static lathe_code join_betas(lathe_buf *out, bool required, const lathe_options *const lists[2])
{
    lathe_code code = lathe_buf_string(out, required ? required_beta : "");
    for (size_t l = 0; l < 2; l++)
        for (size_t i = 0; i < lists[l]->beta_count && !code; i++) {
            const char *beta = lists[l]->betas[i];
            bool known = (required && !strcmp(beta, required_beta)) ||
                         is_among(beta, lists[l], i) ||
                         (l && is_among(beta, lists[0], lists[0]->beta_count));
            if (!known)
                code = lathe_buf_printf(out, "%s%s", out->size ? "," : "", beta);
        }
    return code;
}

lathe_code lathe_outgoing_lines(const lathe_settings *settings, const lathe_options *client,
                                const lathe_options *call, lathe_lines *lines)
{
    const lathe_options *const lists[] = {client, call};
    lathe_buf betas;
    lathe_buf_init(&betas, SIZE_MAX);
    lathe_code code = join_betas(&betas, !client->model || !*client->model, lists);
    if (!code) {
        lathe_header ours[7] = {{"anthropic-version", "2023-06-01"},
                                {"content-type", "application/json"},
                                {"accept", "application/json"},
                                {"accept-encoding", "gzip"},
                                {"user-agent", settings->user_agent}};
        size_t count = 5;
        if (settings->secret)
            ours[count++] = (lathe_header){settings->secret_name, settings->secret};
        if (betas.size)
            ours[count++] = (lathe_header){"anthropic-beta", betas.data};
        const lathe_header *const headers[] = {ours, client->headers, call->headers};
        const size_t counts[] = {count, client->header_count, call->header_count};
        code = lathe_lines_init(lines, headers, counts, 3);
        if (!code)
            code = lathe_lines_list(lines);
    }
    lathe_buf_clear(&betas);
    return code;
}
