// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * calls <module>: the calls of originals in a module's code, as the kernel patched them. Prints `counted` for each call that
 * leads into the padding before a thunk, where call depth tracking counts it, and `direct` for each that leads to the thunk.
 */
#include <elf.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* CONFIG_CALL_PADDING: bytes before a function. */
#define PADDING 16
#define THUNK "klp_original_"
/* No function of the module is longer. */
#define LONGEST 1024

static uint64_t thunks[16], first = UINT64_MAX, last;
static int count;

/* The module's functions, from /proc/kallsyms. */
static int read_symbols(const char *module)
{
	char line[1024], name[512], owner[128], wanted[128];
	unsigned long long address;
	char kind;
	FILE *file = fopen("/proc/kallsyms", "r");

	if (!file)
		return -1;
	snprintf(wanted, sizeof(wanted), "[%s]", module);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%llx %c %511s %127s", &address, &kind, name, owner) != 4)
			continue;
		if (strcmp(owner, wanted) || !strchr("tT", kind))
			continue;
		first = address < first ? address : first;
		last = address > last ? address : last;
		if (!strncmp(name, THUNK, strlen(THUNK)) && count < 16)
			thunks[count++] = address;
	}
	fclose(file);
	return count ? 0 : -1;
}

/* Reads the kernel's memory at an address. */
static int read_memory(uint64_t address, void *to, size_t size)
{
	int file = open("/proc/kcore", O_RDONLY), found = -1;
	Elf64_Ehdr header;
	Elf64_Phdr part;

	if (file < 0 || pread(file, &header, sizeof(header), 0) != sizeof(header))
		return -1;
	for (int i = 0; i < header.e_phnum && found; i++) {
		off_t at = header.e_phoff + i * sizeof(part);

		if (pread(file, &part, sizeof(part), at) != sizeof(part))
			break;
		if (part.p_type == PT_LOAD && address >= part.p_vaddr && address - part.p_vaddr < part.p_memsz)
			found = pread(file, to, size, part.p_offset + (address - part.p_vaddr)) == (ssize_t)size ? 0 : 1;
		if (found == 1)
			break;
	}
	close(file);
	return found;
}

int main(int argc, char **argv)
{
	static unsigned char code[1 << 16];
	size_t size;

	if (argc != 2 || read_symbols(argv[1])) {
		fprintf(stderr, "calls: no thunk of a module %s in /proc/kallsyms\n", argc == 2 ? argv[1] : "");
		return 1;
	}
	size = last - first + LONGEST;
	if (size > sizeof(code) || read_memory(first, code, size)) {
		fprintf(stderr, "calls: %zu bytes at %llx cannot be read from /proc/kcore\n", size, (unsigned long long)first);
		return 1;
	}
	for (size_t at = 0; at + 5 <= size; at++) {
		int32_t distance;

		if (code[at] != 0xe8)
			continue;
		memcpy(&distance, code + at + 1, sizeof(distance));
		for (int i = 0; i < count; i++) {
			uint64_t behind = thunks[i] - (first + at + 5 + distance);

			if (!behind)
				puts("direct");
			else if (behind <= PADDING)
				puts("counted");
		}
	}
	return 0;
}
