// SPDX-License-Identifier: GPL-2.0-or-later
/* Prints the kernel's release, and ends with the number of answer.h. */
#include <stdio.h>
#include <sys/utsname.h>

#include "answer.h"

int main(void)
{
	struct utsname name;

	if (uname(&name))
		return 1;
	puts(name.release);
	return ANSWER;
}
