#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
echo "called with $1"
