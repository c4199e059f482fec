// SPDX-License-Identifier: GPL-2.0-or-later
/* nonblock <fifo>: opens a FIFO for reading without waiting for a writer, and prints what came of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	puts(open(argv[1], O_RDONLY | O_NONBLOCK) < 0 ? strerror(errno) : "opened");
	return 0;
}
