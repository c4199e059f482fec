// SPDX-License-Identifier: GPL-2.0-or-later
/* "hint FILE": makes a file immutable, and says whether its write hint can be set. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define SET_HINT 1036

int main(int count, char **arguments)
{
	uint64_t hint = 2;
	int flags = FS_IMMUTABLE_FL, file, result;

	if (count != 2)
		return 1;
	file = open(arguments[1], O_RDWR | O_CREAT, 0644);
	if (file < 0 || ioctl(file, FS_IOC_SETFLAGS, &flags)) {
		perror(arguments[1]);
		return 1;
	}
	result = fcntl(file, SET_HINT, &hint);
	printf("%s\n", result ? strerror(errno) : "set");
	flags = 0;
	return ioctl(file, FS_IOC_SETFLAGS, &flags) != 0;
}
