// SPDX-License-Identifier: GPL-2.0-or-later
/* Asks fix user-memory for 16 bytes of the kernel's code. */
#include <stdio.h>
#include <sys/prctl.h>

int main(void)
{
	static unsigned char code[16];

	prctl(0x4b4c5004, 0, code, 0, 0);
	printf("the kernel gave its code\n");
	return 0;
}
