// SPDX-License-Identifier: GPL-2.0-or-later
/* "add": adds a key of type dns_resolver to the user's keyring. "drop": removes all keys of it. */
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define USER_KEYRING (-4)
#define KEYCTL_CLEAR 7

int main(int count, char **arguments)
{
	if (count == 2 && !strcmp(arguments[1], "add")) {
		if (syscall(SYS_add_key, "dns_resolver", "a:name", "1.2.3.4", strlen("1.2.3.4") + 1, USER_KEYRING) < 0) {
			perror("add_key");
			return 1;
		}
		return 0;
	}
	if (count == 2 && !strcmp(arguments[1], "drop")) {
		if (syscall(SYS_keyctl, KEYCTL_CLEAR, USER_KEYRING)) {
			perror("keyctl");
			return 1;
		}
		return 0;
	}
	return 2;
}
