#include "support_prompt.h"

#include "promptlathe.h"
#include "test.h"

json_t *prompt_variables(const json_t *prompt)
{
    lathe_error error;
    const lathe_source source = lathe_jansson_source();
    lathe_jansson_builder builder;
    lathe_error_init(&error);
    lathe_jansson_builder_init(&builder);
    const lathe_sink sink = lathe_jansson_sink(&builder);
    CHECK_CODE(lathe_template_variables(&source, prompt, &sink, &error), LATHE_OK);
    json_t *names = lathe_jansson_builder_take(&builder);
    lathe_jansson_builder_clear(&builder);
    lathe_error_clear(&error);
    return names;
}

bool prompt_renders_back(const json_t *prompt, const json_t *made)
{
    lathe_error error;
    const lathe_source source = lathe_jansson_source();
    lathe_jansson_builder builder;
    lathe_error_init(&error);
    lathe_jansson_builder_init(&builder);
    const lathe_sink sink = lathe_jansson_sink(&builder);
    lathe_code code =
        lathe_round_trip_check(&source, json_object_get(prompt, "messages"),
                               json_object_get(prompt, "system"), made, &sink, &error);
    json_t *differences = lathe_jansson_builder_take(&builder);
    bool exact = !code && json_is_array(differences) && !json_array_size(differences);
    json_decref(differences);
    lathe_jansson_builder_clear(&builder);
    lathe_error_clear(&error);
    return exact;
}
