/* What is known of models, by their names. */
#include "promptlathe.h"

/* Numbers of more digits than this are dates: claude-opus-4-20250514. */
enum { VERSION_DIGITS = 2 };

/* What a name says after "claude". The version's parts stand next to each other. */
typedef struct claude {
    bool named, family, thinking;
    int major, minor;
    enum { BEFORE_VERSION, AFTER_MAJOR, AFTER_VERSION } place;
} claude;

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_in_word(char c)
{
    return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z');
}

/* The next run of letters and digits from *at on; empty at the end. */
static lathe_text next_word(lathe_text name, size_t *at)
{
    while (*at < name.size && !is_in_word(name.data[*at]))
        ++*at;
    size_t start = *at;
    while (*at < name.size && is_in_word(name.data[*at]))
        ++*at;
    return (lathe_text){name.data + start, *at - start};
}

static bool word_is(lathe_text word, const char *lowercase)
{
    size_t i = 0;
    while (i < word.size && lowercase[i] && lower(word.data[i]) == lowercase[i])
        i++;
    return i == word.size && !lowercase[i];
}

static bool is_number(lathe_text word)
{
    size_t i = 0;
    while (i < word.size && is_digit(word.data[i]))
        i++;
    return i == word.size;
}

static int version_part(lathe_text number)
{
    int value = 0;
    for (size_t i = 0; i < number.size; i++)
        value = 10 * value + (number.data[i] - '0');
    return value;
}

static void read_number(claude *model, lathe_text number)
{
    if (number.size > VERSION_DIGITS)
        model->place = AFTER_VERSION;
    else if (model->place == BEFORE_VERSION) {
        model->major = version_part(number);
        model->place = AFTER_MAJOR;
    } else if (model->place == AFTER_MAJOR) {
        model->minor = version_part(number);
        model->place = AFTER_VERSION;
    }
}

static void read_word(claude *model, lathe_text word)
{
    if (model->place == AFTER_MAJOR)
        model->place = AFTER_VERSION;
    if (word_is(word, "opus") || word_is(word, "sonnet") || word_is(word, "haiku"))
        model->family = true;
    else if (word_is(word, "thinking"))
        model->thinking = true;
}

/* Gateways put words of their own before "claude", and may name it there too: the last one counts.
 */
static claude read_name(lathe_text name)
{
    claude model = {0};
    size_t at = 0;
    for (lathe_text word = next_word(name, &at); word.size; word = next_word(name, &at)) {
        if (word_is(word, "claude"))
            model = (claude){.named = true};
        else if (is_number(word))
            read_number(&model, word);
        else
            read_word(&model, word);
    }
    return model;
}

bool lathe_model_takes_prefill(const char *model, size_t size)
{
    claude found = size ? read_name((lathe_text){model, size}) : (claude){0};
    bool old = found.major == 3 || (found.major == 4 && found.minor < 6);
    return found.named && found.family && !found.thinking && old;
}
