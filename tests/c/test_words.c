/* Words against single bytes. */
#include "words.h"

#include "test.h"

static bool has_zero(const char *bytes)
{
    for (size_t i = 0; i < LATHE_WORD; i++)
        if (!bytes[i])
            return true;
    return false;
}

/* Bytes above a zero one may look like zeros too, so each pair stands at each place. */
TEST(a_zero_byte_is_found_and_nothing_else)
{
    static const unsigned char others[] = {0x01, 0x7F, 0x80, 0x81, 0xFF};
    for (unsigned pair = 0; pair < 1U << 16; pair++)
        for (size_t other = 0; other < sizeof others; other++)
            for (size_t place = 0; place + 1 < LATHE_WORD; place++) {
                char bytes[LATHE_WORD + 1];
                memset(bytes, others[other], sizeof bytes);
                bytes[1 + place] = (char)(pair >> 8);
                bytes[2 + place] = (char)pair;
                if (!CHECK(!lathe_zero_bytes(lathe_word(bytes + 1)) == !has_zero(bytes + 1)))
                    return;
            }
}

TEST(a_byte_is_in_each_place)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char bytes[LATHE_WORD];
        memset(bytes, (int)byte, sizeof bytes);
        CHECK(lathe_word(bytes) == LATHE_EACH_BYTE(byte));
    }
}

TESTS(ENTRY(a_zero_byte_is_found_and_nothing_else), ENTRY(a_byte_is_in_each_place))
