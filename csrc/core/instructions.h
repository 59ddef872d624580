/* What a model is told to do: one text per verb and step, our own or those of a user's folder. */
#ifndef LATHE_INSTRUCTIONS_H
#define LATHE_INSTRUCTIONS_H

#include "promptlathe.h"

typedef enum lathe_instruction_kind {
    LATHE_INSTRUCTION_VERSION,
    LATHE_INSTRUCTION_GENERATE,
    LATHE_INSTRUCTION_IMPROVE,
    LATHE_INSTRUCTION_EXAMPLES, /* the four steps of a thorough improve */
    LATHE_INSTRUCTION_DRAFT,
    LATHE_INSTRUCTION_REASONING,
    LATHE_INSTRUCTION_REWORK,
    LATHE_INSTRUCTION_TEMPLATIZE,
    LATHE_INSTRUCTION_AGAIN, /* what is said before the fault of an answer */
    LATHE_INSTRUCTION_COUNT,
} lathe_instruction_kind;

/* Those of csrc/instructions, compiled in: the file's name without .txt, and its text. */
typedef struct lathe_instruction {
    const char *name, *text;
} lathe_instruction;

extern const lathe_instruction lathe_builtin_instructions[LATHE_INSTRUCTION_COUNT];

/* A set that never changes. */
typedef struct lathe_instructions lathe_instructions;

/* Our own, with those in place of them that `folder` has: files with the same names. Without a
 * version.txt of its own the version is ours with "+custom" behind. `folder` NULL or "": our own.
 * LATHE_CONFIGURATION: it cannot be read, has none of them, has a .txt of another name, or one is
 * empty, over a MiB, or no UTF-8. */
lathe_code lathe_instructions_load(const char *folder, lathe_instructions **set,
                                   lathe_error *error);
lathe_instructions *lathe_instructions_retain(lathe_instructions *set);
void lathe_instructions_release(lathe_instructions *set);

const char *lathe_instructions_text(const lathe_instructions *set, lathe_instruction_kind kind);

#endif
