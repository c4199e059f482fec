// SPDX-License-Identifier: GPL-2.0-or-later
/* Traces the io_uring worker of a child, and the child itself, and sets and gets their signal masks. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef PTRACE_GETSIGMASK
#define PTRACE_GETSIGMASK 0x420a
#define PTRACE_SETSIGMASK 0x420b
#endif
/* linux/io_uring.h: a thread of the kernel submits what is in the ring. */
#define SETUP_SQPOLL 2
#define PARAMS_SIZE 120

static const char *result(long returned)
{
	if (returned >= 0)
		return "done";
	return errno == EPERM ? "EPERM" : errno == EINVAL ? "EINVAL" : errno == EFAULT ? "EFAULT" : "another error";
}

static long request(int op, pid_t task, long addr, void *data)
{
	return syscall(SYS_ptrace, op, task, addr, data);
}

/* Number of the child's worker. */
static pid_t worker_of(pid_t child)
{
	char path[64];
	struct dirent *entry;
	pid_t found = 0;
	DIR *tasks;

	/* The child has no other thread. (The worker has its name only when it runs.) */
	snprintf(path, sizeof(path), "/proc/%d/task", child);
	tasks = opendir(path);
	while (tasks && !found && (entry = readdir(tasks))) {
		found = atoi(entry->d_name);
		if (found == child)
			found = 0;
	}
	if (tasks)
		closedir(tasks);
	return found;
}

static void masks_of(const char *name, pid_t task)
{
	uint64_t mask = 1ULL << (SIGUSR1 - 1), after = 0;
	int status;

	printf("%s, seize: %s\n", name, result(request(PTRACE_SEIZE, task, 0, NULL)));
	printf("%s, interrupt: %s\n", name, result(request(PTRACE_INTERRUPT, task, 0, NULL)));
	if (waitpid(task, &status, __WALL) != task || !WIFSTOPPED(status))
		printf("%s does not stop\n", name);
	printf("%s, set: %s\n", name, result(request(PTRACE_SETSIGMASK, task, sizeof(mask), &mask)));
	printf("%s, get: %s\n", name, result(request(PTRACE_GETSIGMASK, task, sizeof(after), &after)));
	printf("%s has the mask: %s\n", name, after == mask ? "yes" : "no");
	printf("%s, set of a wrong size: %s\n", name, result(request(PTRACE_SETSIGMASK, task, 4, &mask)));
	printf("%s, set from nothing: %s\n", name, result(request(PTRACE_SETSIGMASK, task, sizeof(mask), NULL)));
	printf("%s, unknown request: %s\n", name, result(request(0x7777, task, 0, NULL)));
	printf("%s, detach: %s\n", name, result(request(PTRACE_DETACH, task, 0, NULL)));
}

int main(void)
{
	uint32_t params[PARAMS_SIZE / 4] = { 0 };
	int ready[2], ring;
	pid_t child, worker;
	char byte;

	if (pipe(ready))
		return 1;
	child = fork();
	if (child == 0) {
		/* Flags, then the milliseconds before the worker sleeps. */
		params[2] = SETUP_SQPOLL;
		params[4] = 1;
		ring = syscall(SYS_io_uring_setup, 4, params);
		if (ring < 0)
			perror("io_uring_setup");
		if (write(ready[1], "x", 1) != 1)
			return 1;
		for (;;)
			pause();
	}
	if (child < 0 || read(ready[0], &byte, 1) != 1)
		return 1;
	worker = worker_of(child);
	if (!worker) {
		printf("there is no worker\n");
		kill(child, SIGKILL);
		return 1;
	}
	masks_of("worker", worker);
	masks_of("thread", child);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return 0;
}
