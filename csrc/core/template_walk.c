/* Where the templates of a prompt are, and whether it has the shape to hold them. */
#include "template.h"
#include "value.h"

typedef struct walker {
    const lathe_source *source;
    lathe_strictness strictness;
    lathe_names *names; /* or NULL */
    lathe_faults *faults;
} walker;

static lathe_code missing(const walker *walk, const lathe_path *path, const char *what)
{
    return lathe_path_fault(path, walk->faults, "missing", "is required: %s", what);
}

static lathe_code add_variables(const walker *walk, lathe_text text)
{
    lathe_variable variable;
    for (size_t at = 0; lathe_next_variable(text, at, &variable); at = variable.end) {
        lathe_name *item;
        lathe_code code = lathe_names_add(walk->names, variable.name, &item);
        if (code)
            return code;
    }
    return LATHE_OK;
}

static lathe_code walk_string(const walker *walk, const void *value, const lathe_path *path)
{
    lathe_text text;
    lathe_code code = lathe_read_string(walk->source, value, path, &text, walk->faults);
    return code || !walk->names ? code : add_variables(walk, text);
}

/* Checks that a member is there and a string. */
static lathe_code check_word(const walker *walk, const void *value, const lathe_path *path,
                             const char *what, lathe_text *text)
{
    *text = (lathe_text){0};
    return value ? lathe_read_string(walk->source, value, path, text, walk->faults)
                 : missing(walk, path, what);
}

static lathe_code walk_block(const walker *walk, const void *block, const lathe_path *path)
{
    static const char *const names[] = {"type", "text"};
    lathe_kind kind = lathe_kind_of(walk->source, block);
    if (kind != LATHE_KIND_OBJECT)
        return lathe_path_wrong_type(path, walk->faults, "an object with type and text", kind);
    const void *values[2];
    lathe_text type = {0};
    lathe_path type_path = lathe_path_name(path, "type"), text_path = lathe_path_name(path, "text");
    lathe_code code = lathe_find_members(walk->source, block, names, 2, values, NULL);
    if (!code)
        code = check_word(walk, values[0], &type_path, "every block has a type", &type);
    if (code || !lathe_text_is(type, "text"))
        return code;
    return values[1] ? walk_string(walk, values[1], &text_path)
                     : missing(walk, &text_path, "a text block has a text");
}

static lathe_code walk_blocks(const walker *walk, const void *list, const lathe_path *path)
{
    size_t length = walk->source->table->length(walk->source->self, list);
    for (size_t i = 0;; i++) {
        const void *block;
        lathe_code code = lathe_item(walk->source, list, i, length, &block);
        if (code || !block)
            return code;
        lathe_path step = lathe_path_index(path, i);
        code = walk_block(walk, block, &step);
        if (code)
            return code;
    }
}

static lathe_code walk_content(const walker *walk, const void *content, const lathe_path *path)
{
    if (!content)
        return missing(walk, path, "every message has a content");
    lathe_kind kind = lathe_kind_of(walk->source, content);
    if (kind == LATHE_KIND_STRING)
        return walk_string(walk, content, path);
    if (kind == LATHE_KIND_LIST)
        return walk_blocks(walk, content, path);
    return lathe_path_wrong_type(path, walk->faults, "a string or a list of blocks", kind);
}

static lathe_code walk_message(const walker *walk, const void *message, const lathe_path *path)
{
    static const char *const names[] = {"role", "content"};
    lathe_kind kind = lathe_kind_of(walk->source, message);
    if (kind != LATHE_KIND_OBJECT)
        return lathe_path_wrong_type(path, walk->faults, "an object with role and content", kind);
    const void *values[2];
    lathe_path role_path = lathe_path_name(path, "role");
    lathe_path content_path = lathe_path_name(path, "content");
    lathe_text role;
    lathe_code code = lathe_find_members(walk->source, message, names, 2, values, NULL);
    if (!code && walk->strictness == LATHE_ANSWER)
        code = check_word(walk, values[0], &role_path, "every message has a role", &role);
    return code ? code : walk_content(walk, values[1], &content_path);
}

static lathe_code walk_messages(const walker *walk, const void *list, const lathe_path *path)
{
    size_t length = walk->source->table->length(walk->source->self, list);
    for (size_t i = 0;; i++) {
        const void *message;
        lathe_code code = lathe_item(walk->source, list, i, length, &message);
        if (code || !message)
            return code;
        lathe_path step = lathe_path_index(path, i);
        code = walk_message(walk, message, &step);
        if (code)
            return code;
    }
}

/* Only an answer must have a system; elsewhere it may be null too, as clients dump it. */
static lathe_code walk_system(const walker *walk, const void *system, const lathe_path *path)
{
    bool optional = walk->strictness == LATHE_TEMPLATE;
    if (optional && (!system || lathe_kind_of(walk->source, system) == LATHE_KIND_NULL))
        return LATHE_OK;
    return system ? walk_string(walk, system, path)
                  : missing(walk, path, "an answer has a system, which may be empty");
}

lathe_code lathe_walk_response(const lathe_source *source, const void *response,
                               const lathe_path *parent, lathe_strictness strictness,
                               lathe_names *names, lathe_faults *faults)
{
    static const char *const members[] = {"system", "messages"};
    walker walk = {source, strictness, names, faults};
    const void *values[2];
    lathe_path system_path = lathe_path_name(parent, "system");
    lathe_path messages_path = lathe_path_name(parent, "messages");
    lathe_code code = lathe_find_members(source, response, members, 2, values, NULL);
    if (!code)
        code = walk_system(&walk, values[0], &system_path);
    if (code)
        return code;
    if (!values[1])
        return missing(&walk, &messages_path, "a response has a list of messages");
    lathe_kind kind = lathe_kind_of(source, values[1]);
    if (kind != LATHE_KIND_LIST)
        return lathe_path_wrong_type(&messages_path, faults, "a list of messages", kind);
    return walk_messages(&walk, values[1], &messages_path);
}

lathe_code lathe_walk_prompt(const lathe_source *source, const void *prompt, lathe_names *names,
                             lathe_faults *faults)
{
    walker walk = {source, LATHE_TEMPLATE, names, faults};
    lathe_path root = lathe_path_name(NULL, "prompt"), list = lathe_path_name(NULL, "messages");
    if (!prompt)
        return missing(&walk, &root, "a string, a list of messages or a response");
    lathe_kind kind = lathe_kind_of(source, prompt);
    if (kind == LATHE_KIND_STRING)
        return walk_string(&walk, prompt, &root);
    if (kind == LATHE_KIND_LIST)
        return walk_messages(&walk, prompt, &list);
    if (kind == LATHE_KIND_OBJECT)
        return lathe_walk_response(source, prompt, NULL, LATHE_TEMPLATE, names, faults);
    return lathe_path_wrong_type(&root, faults, "a string, a list of messages or a response", kind);
}

lathe_code lathe_name_set(lathe_name *name, const lathe_source *source, const void *value,
                          const lathe_path *path, lathe_faults *faults)
{
    if (name->value.data || name->refused)
        return LATHE_OK;
    size_t before = faults->total;
    lathe_code code = lathe_read_string(source, value, path, &name->value, faults);
    name->refused = faults->total > before;
    return code;
}
