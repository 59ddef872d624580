#include "near_miss.h"

#include <stdio.h>
#include <string.h>

#include "words.h"

/* A line that begins with the word. */
typedef struct line_start {
    size_t line, word, end; /* where its line, its word, and what follows the word begin */
    bool colon, spaced, wide, exact;
} line_start;

static bool is_break(char c)
{
    return c == '\n' || c == '\r';
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\v' || c == '\f';
}

static size_t skip_blanks(lathe_text text, size_t at)
{
    while (at < text.size && is_blank(text.data[at]))
        at++;
    return at;
}

static bool only_space_before(lathe_text text, size_t at)
{
    while (at && (is_break(text.data[at - 1]) || is_blank(text.data[at - 1])))
        at--;
    return !at;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool has_word(lathe_text text, size_t at, const char *word)
{
    size_t length = strlen(word);
    if (text.size - at < length)
        return false;
    for (size_t i = 0; i < length; i++)
        if (lower(text.data[at + i]) != lower(word[i]))
            return false;
    return true;
}

/* Reads what the line at `line` begins with. */
static bool read_candidate(lathe_text text, size_t line, const char *word, line_start *found)
{
    static const char wide_colon[] = "\xEF\xBC\x9A"; /* U+FF1A, as Chinese keyboards give it */
    size_t at = skip_blanks(text, line);
    if (!has_word(text, at, word))
        return false;
    size_t end = at + strlen(word), colon = skip_blanks(text, end), rest = text.size - colon;
    *found = (line_start){.line = line, .word = at, .end = end, .spaced = colon > end};
    found->exact = memcmp(text.data + at, word, strlen(word)) == 0;
    found->wide = rest >= 3 && memcmp(text.data + colon, wide_colon, 3) == 0;
    found->colon = found->wide || (rest && text.data[colon] == ':');
    return true;
}

/* Whether a word without its colon stands where and as a marker would. */
static bool stands_alone(lathe_text text, const line_start *candidate)
{
    const char *data = text.data;
    size_t word = candidate->word, end = candidate->end;
    if (!candidate->exact || candidate->line != word)
        return false;
    if (word >= 2 && data[word - 1] == '\n' && data[word - 2] == '\n')
        return end == text.size || is_blank(data[end]) || is_break(data[end]);
    if (!only_space_before(text, word))
        return false;
    end = skip_blanks(text, end);
    return end == text.size || is_break(data[end]);
}

static bool has_break(uint64_t word)
{
    return lathe_zero_bytes(word ^ LATHE_EACH_BYTE('\n')) |
           lathe_zero_bytes(word ^ LATHE_EACH_BYTE('\r'));
}

/* The next line's beginning behind `at`; text.size at the end. */
static size_t next_line(lathe_text text, size_t at)
{
    while (text.size - at >= LATHE_WORD && !has_break(lathe_word(text.data + at)))
        at += LATHE_WORD;
    while (at < text.size && !is_break(text.data[at]))
        at++;
    return at < text.size ? at + 1 : at;
}

static bool find_candidate(lathe_text text, const char *word, line_start *best)
{
    bool found = false;
    for (size_t line = 0; line < text.size; line = next_line(text, line)) {
        line_start next;
        if (!read_candidate(text, line, word, &next))
            continue;
        if (next.colon) {
            *best = next;
            return true;
        }
        if (!found && stands_alone(text, &next)) {
            *best = next;
            found = true;
        }
    }
    return found;
}

/* Where the line break that ends at `at` begins; `at` when there is none. CRLF is one. */
static size_t before_break(lathe_text text, size_t at)
{
    if (!at || !is_break(text.data[at - 1]))
        return at;
    at--;
    return at && text.data[at] == '\n' && text.data[at - 1] == '\r' ? at - 1 : at;
}

/* Where the last two line breaks before a line begin, with the white space between them: the place
 * that a marker would have. The last one's when there is no other, and the line's without any. */
static size_t before_breaks(lathe_text text, size_t line)
{
    size_t last = before_break(text, line), blanks = last;
    while (last < line && blanks && is_blank(text.data[blanks - 1]))
        blanks--;
    size_t first = last < line ? before_break(text, blanks) : last;
    return first < blanks ? first : last;
}

/* What is wrong with the line breaks before a line, which begin at `start`; NULL: nothing. */
static const char *break_flaw(lathe_text text, size_t start, size_t line, bool human)
{
    const char *breaks = text.data + start;
    size_t size = line - start;
    if (human && only_space_before(text, line))
        return NULL; /* sanitizing puts any white space there right */
    if (!size)
        return "has no line breaks before it";
    if (memchr(breaks, '\r', size))
        return "follows line ends with CR (CRLF)";
    if (size == 1)
        return "follows one newline only";
    return size > 2 ? "follows a blank line that holds white space" : NULL;
}

static void describe(lathe_text text, const line_start *candidate, bool human,
                     lathe_near_miss *miss)
{
    const char *const flaws[] = {
        break_flaw(text, miss->start, candidate->line, human),
        candidate->line < candidate->word ? "has white space before it on its line" : NULL,
        candidate->exact ? NULL : "is in another case",
        candidate->colon && candidate->spaced ? "has a space before its colon" : NULL,
        candidate->colon ? NULL : "has no colon",
        candidate->wide ? "has a full-width colon" : NULL,
    };
    size_t used = 0;
    miss->flaws[0] = '\0';
    for (size_t i = 0; i < sizeof flaws / sizeof *flaws; i++)
        if (flaws[i])
            used += (size_t)snprintf(miss->flaws + used, sizeof miss->flaws - used, "%s%s",
                                     used ? " and " : "", flaws[i]);
}

bool lathe_near_miss_find(lathe_text text, bool human, lathe_near_miss *miss)
{
    line_start candidate = {0};
    if (!find_candidate(text, human ? "Human" : "Assistant", &candidate))
        return false;
    size_t start = before_breaks(text, candidate.line);
    miss->start = start;
    describe(text, &candidate, human, miss);
    if (start == candidate.line)
        miss->start = candidate.word;
    return true;
}
