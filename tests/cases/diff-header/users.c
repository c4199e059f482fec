// SPDX-License-Identifier: GPL-2.0-or-later
/* Two processes use a message queue, a semaphore and shared memory, one after the other. Which one is the last user of each? */
#include <stdio.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

static int queue, semaphore, memory;

static int use(void)
{
	struct {
		long type;
		char text[4];
	} message = { .type = 1, .text = "abc" };
	void *at;

	if (msgsnd(queue, &message, sizeof(message.text), 0) || semctl(semaphore, 0, SETVAL, 1))
		return 1;
	at = shmat(memory, NULL, 0);
	return at == (void *)-1 || shmdt(at);
}

/* A process that uses the objects; 0 if it could not. */
static pid_t user(void)
{
	pid_t child = fork();
	int status;

	if (child == 0)
		_exit(use());
	if (child < 0 || waitpid(child, &status, 0) != child || status)
		return 0;
	return child;
}

int main(void)
{
	struct msqid_ds of_queue;
	struct shmid_ds of_memory;
	pid_t first, second, last[3];
	const char *names[] = { "queue", "semaphore", "memory" };
	int i, failed;

	queue = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
	semaphore = semget(IPC_PRIVATE, 1, IPC_CREAT | 0600);
	memory = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
	first = user();
	second = user();
	failed = !first || !second || msgctl(queue, IPC_STAT, &of_queue) || shmctl(memory, IPC_STAT, &of_memory);
	if (!failed) {
		last[0] = of_queue.msg_lspid;
		last[1] = semctl(semaphore, 0, GETPID);
		last[2] = of_memory.shm_lpid;
		for (i = 0; i < 3; i++)
			printf("%s: %s\n", names[i], last[i] == first ? "first" : last[i] == second ? "second" : "another");
	}
	msgctl(queue, IPC_RMID, NULL);
	semctl(semaphore, 0, IPC_RMID);
	shmctl(memory, IPC_RMID, NULL);
	if (failed)
		printf("the objects could not be used\n");
	return failed;
}
