// SPDX-License-Identifier: GPL-2.0-or-later
/* Calls the options of fix user-memory, with good addresses and with bad ones. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { SWAP = 0x4b4c5000, NEXT, REVERSE, FOLLOW };

static const char *result(int returned)
{
	if (returned == 0)
		return "done";
	return errno == EFAULT ? "EFAULT" : errno == EINVAL ? "EINVAL" : "another error";
}

#define SAY(name, call) printf("%s: %s\n", name, result(call))

int main(void)
{
	int64_t time[2] = { 7, 9 }, swapped[2] = { 0 };
	uint8_t byte = 255, byte_after = 7;
	uint16_t half = 65534, half_after = 0;
	int32_t word = -1, word_after = 7;
	uint64_t wide = 0x1234567890abcdefULL, wide_after = 0;
	uint32_t values[2] = { 0 }, *pointer = values, *pointer_after = NULL;
	char text[] = "abcdefgh", reversed[9] = "";
	long page = sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *read_only = mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *kernel = (void *)0xffffffff81000000UL;

	if (pages == MAP_FAILED || read_only == MAP_FAILED || munmap(pages + page, page))
		return 1;
	SAY("struct", prctl(SWAP, time, swapped, 0, 0));
	printf("%d %d\n", (int)swapped[0], (int)swapped[1]);
	SAY("integers", prctl(NEXT, &byte, &byte_after, 1, 0) | prctl(NEXT, &half, &half_after, 2, 0) |
			prctl(NEXT, &word, &word_after, 4, 0) | prctl(NEXT, &wide, &wide_after, 8, 0));
	printf("%d %d %d %llx\n", byte_after, half_after, word_after, (unsigned long long)wide_after);
	SAY("bytes", prctl(REVERSE, text, reversed, 8, 0));
	printf("%s\n", reversed);
	SAY("pointer", prctl(FOLLOW, &pointer, &pointer_after, 0, 0));
	printf("%d\n", pointer_after == values + 1);

	SAY("struct from nothing", prctl(SWAP, NULL, swapped, 0, 0));
	SAY("struct to the kernel", prctl(SWAP, time, kernel, 0, 0));
	SAY("struct from the kernel", prctl(SWAP, kernel, swapped, 0, 0));
	SAY("integer from the kernel", prctl(NEXT, kernel, &word_after, 4, 0));
	SAY("integer to the kernel", prctl(NEXT, &word, kernel, 4, 0));
	SAY("integer to a read-only page", prctl(NEXT, &word, read_only, 4, 0));
	SAY("bytes from the end of memory", prctl(REVERSE, pages + page - 4, reversed, 8, 0));
	SAY("bytes to the end of memory", prctl(REVERSE, text, pages + page - 4, 8, 0));
	SAY("too many bytes", prctl(REVERSE, text, reversed, 65, 0));
	SAY("option of the original", prctl(PR_SET_NAME, "a name", 0, 0, 0));
	SAY("option of nobody", prctl(0x4b4c6000, 0, 0, 0, 0));
	printf("%s", read_only[0] == 0 && !strcmp(text, "abcdefgh") ? "" : "memory was changed\n");
	return 0;
}
