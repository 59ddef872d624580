#include "messages.h"

#include "error.h"
#include "value.h"
#include "walk.h"

typedef struct walker {
    const lathe_source *source;
    const lathe_sink *sink;
    lathe_faults *faults;
} walker;

/* What the walk has learnt about the roles. */
typedef struct roles_seen {
    bool user, assistant, invalid;
} roles_seen;

typedef enum speaker { ROLE_INVALID, ROLE_USER, ROLE_ASSISTANT } speaker;

/* An object's two members, and what to say of any other. */
typedef struct member_rule {
    const char *names[2];
    const char *others;
    bool caching; /* cache_control has a code of its own */
} member_rule;

static const member_rule message_rule = {
    {"role", "content"},
    "is not known here: a message has role and content and nothing else, so remove it",
    false,
};
static const member_rule block_rule = {
    {"type", "text"},
    "is not known here: a text block has type and text and nothing else, so remove it",
    true,
};

/* Once a fault is known, what the sink holds is of no use, and it is fed no more. */
static const lathe_sink *open_sink(const walker *walk)
{
    return walk->faults->total ? NULL : walk->sink;
}

static lathe_code feed_begin_list(const walker *walk)
{
    const lathe_sink *sink = open_sink(walk);
    return sink ? sink->table->begin_list(sink->self) : LATHE_OK;
}

static lathe_code feed_end(const walker *walk)
{
    const lathe_sink *sink = open_sink(walk);
    return sink ? sink->table->end(sink->self) : LATHE_OK;
}

/* The host's own string goes in as it is, where the sink is the host's too. */
static const void *given(const walker *walk, const void *string)
{
    return lathe_same_host(walk->source, walk->sink) ? string : NULL;
}

/* `string` is the role as given, or NULL for a message that stands for a string. */
static lathe_code feed_begin_message(const walker *walk, speaker role, const void *string)
{
    const lathe_sink *sink = open_sink(walk);
    return sink ? lathe_sink_begin_message(sink, role == ROLE_ASSISTANT, given(walk, string))
                : LATHE_OK;
}

static lathe_code feed_end_message(const walker *walk)
{
    lathe_code code = feed_end(walk);
    return code ? code : feed_end(walk);
}

static lathe_code feed_block(const walker *walk, const void *string, lathe_text text)
{
    const lathe_sink *sink = open_sink(walk);
    return sink ? lathe_sink_text_block(sink, text, given(walk, string)) : LATHE_OK;
}

static lathe_code missing(const walker *walk, const lathe_path *path, const char *what)
{
    return lathe_path_fault(path, walk->faults, "missing", "is required: add %s", what);
}

/* A key that cannot be a member's name; one fault per object and code. */
static lathe_code check_key(const walker *walk, const lathe_path *path, const lathe_member *member,
                            bool reported[2])
{
    if (reported[member->is_string])
        return LATHE_OK;
    reported[member->is_string] = true;
    return lathe_path_bad_key(path, walk->faults, member->is_string);
}

static lathe_code check_other(const walker *walk, const lathe_path *parent, const member_rule *rule,
                              const lathe_member *member)
{
    if (lathe_kind_of(walk->source, member->value) == LATHE_KIND_NULL)
        return LATHE_OK;
    lathe_path path = lathe_path_text(parent, member->name);
    if (rule->caching && lathe_text_is(member->name, "cache_control"))
        return lathe_path_fault(&path, walk->faults, "prompt_caching",
                                "prompt caching is not supported here: remove cache_control");
    return lathe_path_fault(&path, walk->faults, "unexpected_key", "%s", rule->others);
}

/* The members beside the two of the rule, in their order. */
static lathe_code check_others(const walker *walk, const void *object, const lathe_path *path,
                               const member_rule *rule)
{
    lathe_cursor cursor = {0};
    bool reported[2] = {false, false};
    for (;;) {
        lathe_member member;
        lathe_code code = lathe_next_member(walk->source, object, &cursor, &member);
        if (code || !member.key)
            return code;
        if (!member.name.data)
            code = check_key(walk, path, &member, reported);
        else if (!lathe_text_is(member.name, rule->names[0]) &&
                 !lathe_text_is(member.name, rule->names[1]))
            code = check_other(walk, path, rule, &member);
        if (code)
            return code;
    }
}

/* What to do instead of sending a block of this type. */
static const char *block_advice(lathe_text type)
{
    static const char *const advice[][2] = {
        {"image", "images are not supported here"},
        {"document", "documents are not supported here"},
        {"tool_use", "tool calls are not supported here"},
        {"tool_result", "results of tools are not supported here"},
        {"thinking", "thinking is not supported here"},
        {"redacted_thinking", "thinking is not supported here"},
    };
    for (size_t i = 0; i < sizeof advice / sizeof *advice; i++)
        if (lathe_text_is(type, advice[i][0]))
            return advice[i][1];
    return "this type is not supported here";
}

/* Reads a string that is judged by its value only: one without a UTF-8 form is just another value.
 */
static lathe_code read_word(const walker *walk, const void *value, lathe_text *text)
{
    lathe_code code = lathe_read_bytes(walk->source, value, text);
    return code == LATHE_NOT_UNICODE ? LATHE_OK : code;
}

/* *is_text tells whether the rest of the block is worth a look. */
static lathe_code check_type(const walker *walk, const void *type, const lathe_path *block,
                             bool *is_text)
{
    *is_text = false;
    lathe_path path = lathe_path_name(block, "type");
    if (!type)
        return missing(walk, &path, "type, with the value text");
    lathe_kind kind = lathe_kind_of(walk->source, type);
    if (kind != LATHE_KIND_STRING)
        return lathe_path_wrong_type(&path, walk->faults, "the string text", kind);
    lathe_text text;
    lathe_code code = read_word(walk, type, &text);
    if (code)
        return code;
    *is_text = lathe_text_is(text, "text");
    if (*is_text)
        return LATHE_OK;
    return lathe_path_fault(&path, walk->faults, "not_text",
                            "%s: use blocks of type text only, or remove this block",
                            block_advice(text));
}

static lathe_code check_text(const walker *walk, const void *value, const lathe_path *block)
{
    lathe_path path = lathe_path_name(block, "text");
    if (!value)
        return missing(walk, &path, "text, a string");
    lathe_text text;
    lathe_code code = lathe_read_string(walk->source, value, &path, &text, walk->faults);
    return code ? code : feed_block(walk, value, text);
}

static lathe_code walk_block(const walker *walk, const void *block, const lathe_path *path)
{
    lathe_kind kind = lathe_kind_of(walk->source, block);
    if (kind != LATHE_KIND_OBJECT)
        return lathe_path_wrong_type(path, walk->faults, "an object with type and text", kind);
    const void *values[2];
    bool others, is_text = false;
    lathe_code code = lathe_find_members(walk->source, block, block_rule.names, 2, values, &others);
    if (!code)
        code = check_type(walk, values[0], path, &is_text);
    if (code || !is_text)
        return code;
    code = check_text(walk, values[1], path);
    return code || !others ? code : check_others(walk, block, path, &block_rule);
}

static lathe_code walk_blocks(const walker *walk, const void *list, const lathe_path *path)
{
    size_t length = walk->source->table->length(walk->source->self, list);
    for (size_t i = 0;; i++) {
        const void *block;
        lathe_code code = lathe_item(walk->source, list, i, length, &block);
        if (code)
            return code;
        if (!block && !i)
            return lathe_path_fault(path, walk->faults, "empty",
                                    "must not be empty: add a text block or use a string");
        if (!block)
            return LATHE_OK;
        lathe_path step = lathe_path_index(path, i);
        code = walk_block(walk, block, &step);
        if (code)
            return code;
    }
}

static lathe_code walk_content(const walker *walk, const void *content, const lathe_path *message)
{
    lathe_path path = lathe_path_name(message, "content");
    if (!content)
        return missing(walk, &path, "content, a string or a list of text blocks");
    lathe_kind kind = lathe_kind_of(walk->source, content);
    if (kind == LATHE_KIND_LIST)
        return walk_blocks(walk, content, &path);
    if (kind != LATHE_KIND_STRING)
        return lathe_path_wrong_type(&path, walk->faults, "a string or a list of text blocks",
                                     kind);
    lathe_text text;
    lathe_code code = lathe_read_string(walk->source, content, &path, &text, walk->faults);
    return code ? code : feed_block(walk, content, text);
}

static lathe_code bad_role(const walker *walk, const lathe_path *path, lathe_text text)
{
    if (lathe_text_is(text, "system") || lathe_text_is(text, "developer"))
        return lathe_path_fault(path, walk->faults, "bad_role",
                                "must be user or assistant: give a system prompt as system=");
    return lathe_path_fault(path, walk->faults, "bad_role",
                            "must be user, or assistant for a prefill at the end");
}

static lathe_code check_role(const walker *walk, const void *value, const lathe_path *message,
                             speaker *role)
{
    *role = ROLE_INVALID;
    lathe_path path = lathe_path_name(message, "role");
    if (!value)
        return missing(walk, &path, "role, which is user or assistant");
    lathe_kind kind = lathe_kind_of(walk->source, value);
    if (kind != LATHE_KIND_STRING)
        return lathe_path_wrong_type(&path, walk->faults, "the string user or assistant", kind);
    lathe_text text;
    lathe_code code = read_word(walk, value, &text);
    if (code)
        return code;
    if (lathe_text_is(text, "user"))
        *role = ROLE_USER;
    else if (lathe_text_is(text, "assistant"))
        *role = ROLE_ASSISTANT;
    return *role ? LATHE_OK : bad_role(walk, &path, text);
}

static lathe_code assistant_not_last(const walker *walk, const lathe_path *message)
{
    lathe_path path = lathe_path_name(message, "role");
    return lathe_path_fault(&path, walk->faults, "assistant_not_last",
                            "an assistant message is a prefill and may only be the last message: "
                            "move it there, or remove it");
}

static lathe_code walk_message(const walker *walk, const void *message, const lathe_path *path,
                               speaker *role)
{
    *role = ROLE_INVALID;
    lathe_kind kind = lathe_kind_of(walk->source, message);
    if (kind != LATHE_KIND_OBJECT)
        return lathe_path_wrong_type(path, walk->faults, "an object with role and content", kind);
    const void *values[2];
    bool others;
    lathe_code code =
        lathe_find_members(walk->source, message, message_rule.names, 2, values, &others);
    if (!code)
        code = check_role(walk, values[0], path, role);
    if (!code)
        code = feed_begin_message(walk, *role, values[0]);
    if (!code)
        code = walk_content(walk, values[1], path);
    if (!code && others)
        code = check_others(walk, message, path, &message_rule);
    return code ? code : feed_end_message(walk);
}

/* A list that another thread empties meanwhile is judged by what was there, hence the look at the
 * next item before a message is called the last. */
static lathe_code walk_items(const walker *walk, const void *list, const lathe_path *path,
                             roles_seen *roles)
{
    const void *item, *next;
    size_t length = walk->source->table->length(walk->source->self, list);
    lathe_code code = lathe_item(walk->source, list, 0, length, &item);
    if (!code && !item)
        return lathe_path_fault(path, walk->faults, "empty",
                                "must not be empty: add at least one user message");
    for (size_t i = 0; !code && item; i++, item = next) {
        speaker role = ROLE_INVALID;
        lathe_path step = lathe_path_index(path, i);
        code = lathe_item(walk->source, list, i + 1, length, &next);
        if (!code)
            code = walk_message(walk, item, &step, &role);
        if (!code && role == ROLE_ASSISTANT && next)
            code = assistant_not_last(walk, &step);
        roles->user |= role == ROLE_USER;
        roles->assistant |= role == ROLE_ASSISTANT;
        roles->invalid |= role == ROLE_INVALID;
    }
    return code;
}

static lathe_code walk_list(const walker *walk, const void *list, const lathe_path *path)
{
    roles_seen roles = {.user = false};
    lathe_code code = feed_begin_list(walk);
    if (!code)
        code = walk_items(walk, list, path, &roles);
    if (!code && roles.assistant && !roles.user && !roles.invalid)
        code = lathe_path_fault(path, walk->faults, "no_user_message",
                                "has no user message: add one before the assistant's prefill");
    return code ? code : feed_end(walk);
}

static lathe_code walk_plain(const walker *walk, const void *string, const lathe_path *path)
{
    lathe_text text;
    lathe_code code = lathe_read_string(walk->source, string, path, &text, walk->faults);
    if (!code)
        code = feed_begin_list(walk);
    if (!code)
        code = feed_begin_message(walk, ROLE_USER, NULL);
    if (!code)
        code = feed_block(walk, string, text);
    if (!code)
        code = feed_end_message(walk);
    return code ? code : feed_end(walk);
}

lathe_code lathe_messages_walk(const lathe_source *source, const void *messages, const char *path,
                               const lathe_sink *sink, lathe_faults *faults)
{
    walker walk = {source, sink, faults};
    lathe_path root = lathe_path_name(NULL, path);
    if (!messages)
        return missing(&walk, &root, "a list of messages, or a string");
    lathe_kind kind = lathe_kind_of(source, messages);
    if (kind == LATHE_KIND_STRING)
        return walk_plain(&walk, messages, &root);
    if (kind == LATHE_KIND_LIST)
        return walk_list(&walk, messages, &root);
    return lathe_path_wrong_type(&root, faults, "a list of messages or a string", kind);
}

lathe_code lathe_string_walk(const lathe_source *source, const void *value, const char *path,
                             const lathe_sink *sink, lathe_text *text, lathe_faults *faults)
{
    walker walk = {source, sink, faults};
    lathe_path root = lathe_path_name(NULL, path);
    *text = (lathe_text){0};
    if (!value)
        return missing(&walk, &root, "a string");
    lathe_code code = lathe_read_string(source, value, &root, text, faults);
    if (code || !open_sink(&walk))
        return code;
    return sink->table->string(sink->self, text->data, text->size);
}

lathe_code lathe_messages_check(const lathe_source *source, const void *messages,
                                const lathe_sink *sink, lathe_error *error)
{
    lathe_code code = lathe_messages_walk(source, messages, "messages", sink, &error->faults);
    return lathe_end_rule(error, code, LATHE_INVALID_REQUEST);
}
