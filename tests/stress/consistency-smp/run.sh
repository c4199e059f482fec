# SPDX-License-Identifier: GPL-2.0-or-later
# Emulated CPUs take turns of 100 ms: where none ever rests, each word from one to the other takes that long.
REST=1000
. /lib/halves.sh
