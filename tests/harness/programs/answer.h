/* SPDX-License-Identifier: GPL-2.0-or-later */
#define ANSWER 7
