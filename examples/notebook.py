"""A notebook in cells: open it in an editor that knows ``# %%``, or convert it with jupytext."""

# %% [markdown]
# ## Prompts from the simulated service
# It runs inside this notebook and asks no model. For a real one, drop this cell and set
# ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY before the notebook starts.

# %%
import promptlathe
from promptlathe.mock import Server

server = Server().start()
client = promptlathe.Client("any-key", base_url=server.url)

# %% [markdown]
# ## What does the generated prompt want to know?

# %%
answer = client.generate("a chef for a meal prep planning service")
variables = promptlathe.find_variables(answer)
print("variables:", variables)

# %% [markdown]
# ## Fill in what is known and look at the rest

# %%
known = {variables[0]: "mandu"} if variables else {}
draft = promptlathe.render(answer, known, partial=True)
print("still open:", promptlathe.find_variables(draft))

# %% [markdown]
# ## From one example to a template, with proof

# %%
request = "Translate hello to German"
template = client.templatize(request)
print("values:", template["variable_values"])
print("losses:", promptlathe.check_round_trip(request, template))

# %% [markdown]
# ## The same sentence in other languages

# %%
for language in ("French", "Hungarian"):
    values = template["variable_values"] | {"TARGET_LANGUAGE": language}
    filled = promptlathe.render(template, values)
    print(filled["messages"][0]["content"])

# %% [markdown]
# ## When done

# %%
client.close()
server.close()
