/* engine_canary.h - the harmless thing an engine must find again and again to be believed.
 *
 * A signature of our own is loaded beside the real ones; its text is scanned plain and deflated inside a zip, because an
 * engine without temp folder or memory finds the first and calls every archive clean. The text is random, new for each
 * engine, so that no file can hold it: neither by accident nor to hide a second signature behind it.
 */
#ifndef GODWIT_SCAN_ENGINE_CANARY_H
#define GODWIT_SCAN_ENGINE_CANARY_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

enum { ENGINE_CANARY_ZIP_MAX = 512 };

/* What the signature is called: ENGINE_CANARY_NAME, with clamav's ".UNOFFICIAL" behind it. */
#define ENGINE_CANARY_NAME "Godwit.Canary"

enum { ENGINE_CANARY_LEN = 64 };
extern char engine_canary_text[ENGINE_CANARY_LEN + 1];

/* Make a new text and write its signature as FOLDER/godwit-canary.ndb. Return 0 or -errno. */
int engine_canary_new(const char *folder, struct err *err);

/* A zip that holds the text, into uint8_t[ENGINE_CANARY_ZIP_MAX]; return its length. Source: PKWARE APPNOTE 6.3. */
size_t engine_canary_zip(uint8_t *zip);

#endif
