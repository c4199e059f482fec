// SPDX-License-Identifier: GPL-2.0-or-later
//! The command `kpatch`.

use std::process::ExitCode;

use kpatch::System;

fn main() -> ExitCode {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    ExitCode::from(kpatch::main(std::env::args_os(), &System::running(), &mut out, &mut err))
}
