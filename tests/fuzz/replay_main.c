/* replay_main.c - feed files to a fuzz target without libFuzzer.
 *
 * Every `make check` replays the corpora with this, so that an input that once crashed a parser stays mended even
 * where libFuzzer is not installed.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		FILE *f = fopen(argv[i], "rb");
		uint8_t *data = NULL;
		size_t len = 0, got;

		if (!f) {
			perror(argv[i]);
			return 1;
		}
		do {
			data = realloc(data, len + 65536);
			if (!data)
				abort();
			got = fread(data + len, 1, 65536, f);
			len += got;
		} while (got == 65536);
		fclose(f);
		LLVMFuzzerTestOneInput(data, len);
		free(data);
	}
	return 0;
}
