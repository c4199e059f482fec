// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * "queue USER": queues signals to itself in a user namespace whose creator's limit is three, and says how many were taken in
 * each round. The creator is the user of this number. No other process may have signals pending for that user.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define LIMIT 3
#define ROUNDS 100

int main(int count, char **arguments)
{
	struct rlimit limit = { LIMIT, 1000 };
	struct timespec now = { 0, 0 };
	union sigval value = { 0 };
	sigset_t set;
	int round, taken, answered, failed = 0;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (setrlimit(RLIMIT_SIGPENDING, &limit)) {
		perror("setrlimit");
		return 1;
	}
	if (count != 2) {
		fprintf(stderr, "usage: queue USER\n");
		return 1;
	}
	if (setuid(atoi(arguments[1]))) {
		perror("setuid");
		return 1;
	}
	/* The new namespace keeps the limit of its creator. */
	if (unshare(CLONE_NEWUSER)) {
		perror("unshare");
		return 1;
	}
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_SIGPENDING, &limit)) {
		perror("setrlimit of the namespace");
		return 1;
	}
	for (round = 0; round < ROUNDS; round++) {
		for (taken = 0; taken < 10 && !sigqueue(getpid(), SIGRTMIN, value); taken++)
			;
		if (taken != LIMIT || errno != EAGAIN) {
			printf("round %d: %d taken, %s\n", round, taken, strerror(errno));
			failed++;
		}
		for (answered = 0; sigtimedwait(&set, NULL, &now) > 0; answered++)
			;
		if (answered != taken) {
			printf("round %d: %d of %d came\n", round, answered, taken);
			failed++;
		}
	}
	printf("%d rounds of %d signals, %d wrong\n", ROUNDS, LIMIT, failed);
	return 0;
}
