/* What the fuzz targets share. A target is a file with LLVMFuzzerTestOneInput; an input is a few
 * bytes that choose what is done (taken from its front, so that what is read stands at the very end
 * of its block, where AddressSanitizer watches) and then text. */
#ifndef FUZZ_SUPPORT_H
#define FUZZ_SUPPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "promptlathe.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the program with a finding. */
#define MUST(condition) fuzz_must((condition), __FILE__, __LINE__, #condition)
void fuzz_must(bool holds, const char *file, int line, const char *condition);

/* What is left of an input. */
typedef struct fuzz_input {
    const uint8_t *data;
    size_t size;
} fuzz_input;

/* The next byte; 0 behind the end. */
unsigned fuzz_byte(fuzz_input *input);
/* The bytes up to the next FE, which no UTF-8 text holds, or to the end; without the FE. */
lathe_text fuzz_piece(fuzz_input *input);
/* All that is left. */
lathe_text fuzz_rest(fuzz_input *input);
/* A copy of exactly that size, whose ends AddressSanitizer watches; free it. */
char *fuzz_copy(lathe_text text);
/* The same with a NUL behind. */
char *fuzz_string(lathe_text text);

/* A value of jansson's. A piece that begins as JSON does is read as JSON ("\uffff" stands for a
 * lone surrogate); other bytes are orders to build one, of the words that the rules know and of
 * bytes that may be no text. With support_host.h's source it may hold what jansson has not. NULL
 * when the piece is no JSON. */
json_t *fuzz_value(fuzz_input *input);

/* Makes an allocation of the library or of jansson fail as `order` says: 0 none, else that one of
 * the next 127, with 128 set all behind it too. */
void fuzz_arm(unsigned order);
/* Whether it did; from now on none fails. */
bool fuzz_disarm(void);

/* UTF-8 once more: whether a text is valid, how many bytes at its beginning are, and how many code
 * points valid text has. */
bool fuzz_is_text(lathe_text text);
size_t fuzz_text_prefix(lathe_text text);
size_t fuzz_length(const char *text, size_t size);

bool fuzz_same(lathe_text a, lathe_text b);
bool fuzz_has(lathe_text text, const char *part, size_t size);
json_t *fuzz_json_string(lathe_text text);

/* An error as every failure must leave it. */
void fuzz_check_error(const lathe_error *error, lathe_code code);

#endif
