// SPDX-License-Identifier: GPL-2.0-or-later
//! Overrides of replaced functions: mechanisms that return to the caller before the replacement runs, and so disable a fix
//! silently. These are BPF programs of type fmod_ret, bpf_override_return of a BPF program on a kprobe, and the kernel's
//! fail_function; and ftrace itself, which the kernel switches off when it finds an error in it.
//!
//! Sources: `kernel/bpf/{trampoline,verifier,syscall}.c`, `kernel/trace/bpf_trace.c`, `kernel/fail_function.c`,
//! `lib/error-inject.c`, `t_start()` and `ftrace_kill()` in `kernel/trace/ftrace.c` of Linux 6.1 to 6.14.

use std::cell::OnceCell;

use rustix::io::Errno;

use crate::model::error::Error;
use crate::model::livepatch;
use crate::model::sys::BpfLink;
use crate::model::system::System;

pub(crate) const ENABLED_FUNCTIONS: [&str; 2] =
    ["/sys/kernel/tracing/enabled_functions", "/sys/kernel/debug/tracing/enabled_functions"];
pub(crate) const KPROBES: &str = "/sys/kernel/debug/kprobes/list";
/// List of functions that allow error injection; missing on a kernel without CONFIG_FUNCTION_ERROR_INJECTION.
const INJECTABLE: &str = "/sys/kernel/debug/error_injection/list";
/// List of functions that fail_function overrides now.
const FAILING: &str = "/sys/kernel/debug/fail_function/inject";

/// `BPF_MODIFY_RETURN` and `BPF_LSM_MAC`: attach types of programs that can override a function.
const OVERRIDING: [u32; 2] = [26, 27];

/// Effect of a tracer on a replaced function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It only observes.
    None,
    /// It may override the function; with an explanation and advice.
    Possible(String),
    /// It overrides the function; with an explanation and advice.
    Certain(String),
}

/// Kernel's data on overrides, read on first use.
pub(crate) struct Overrides<'a> {
    system: &'a System,
    links: OnceCell<Result<Vec<BpfLink>, Errno>>,
    injectable: OnceCell<Result<Vec<String>, String>>,
}

impl<'a> Overrides<'a> {
    pub(crate) fn new(system: &'a System) -> Self {
        Self { system, links: OnceCell::new(), injectable: OnceCell::new() }
    }

    /// Effect of a direct caller of ftrace on a function. `trampoline` is the line after the function's in `enabled_functions`,
    /// such as `direct-->bpf_trampoline_6442550536+0x0/0x1000`.
    pub(crate) fn direct(&self, function: &str, trampoline: &str) -> Effect {
        let links = self.links.get_or_init(|| self.system.kernel().bpf_tracing_links());
        let unknown = |why: &str| {
            Effect::Possible(format!(
                "if it is a BPF program of the kind fmod_ret, it answers in the place of {function}, and the replacement does not run for the calls that it answers; which kind it is could not be told ({why}): bpftool link shows it (attach_type modify_return); detach such a program before you rely on the fix"
            ))
        };
        let Some(target) = target_of(trampoline) else {
            return unknown("the kernel does not say whose it is");
        };
        let links = match links {
            Ok(links) => links,
            Err(errno) => return unknown(&format!("bpf(2): {}", crate::model::explain::ErrnoText(*errno))),
        };
        let mut on_function = links.iter().filter(|link| link.target == target).peekable();
        if on_function.peek().is_none() {
            return unknown("no BPF link leads to it");
        }
        match on_function.find(|link| OVERRIDING.contains(&link.attach_type)) {
            None => Effect::None,
            Some(link) => Effect::Certain(format!(
                "the BPF program {} (link {}) can answer in the place of {function} (fmod_ret): the replacement does not run for the calls that it answers, and the fix is off for them; detach it (bpftool link detach id {}, or end the program that holds it) before you rely on the fix",
                link.program, link.id, link.id
            )),
        }
    }

    /// Effect of a kprobe or another tracer at the entry of a function.
    pub(crate) fn probe(&self, function: &str) -> Effect {
        let failing = self.system.read(FAILING).ok().flatten().unwrap_or_default();
        if failing.lines().any(|line| first_word(line) == function) {
            return Effect::Certain(format!(
                "fail_function is set to answer in the place of {function}: the replacement does not run for the calls that it answers, and the fix is off for them; echo '!{function}' >{FAILING} ends that"
            ));
        }
        let injectable = self.injectable.get_or_init(|| {
            let list = self.system.read(INJECTABLE).map_err(|error| error.to_string())?;
            Ok(list.unwrap_or_default().lines().map(|line| first_word(line).to_owned()).collect())
        });
        let may = "a BPF program on it may answer in its place (bpf_override_return), and the replacement does not run then: bpftool perf and bpftool link show such programs; detach them before you rely on the fix";
        match injectable {
            Ok(list) if list.iter().any(|name| name == function) => {
                Effect::Possible(format!("{function} allows error injection: {may}"))
            }
            Ok(_) => Effect::None,
            Err(why) => {
                Effect::Possible(format!("where {function} allows error injection, {may} (not told: {why})"))
            }
        }
    }
}

fn first_word(line: &str) -> &str {
    line.split_whitespace().next().unwrap_or_default()
}

/// Ids of BTF object and BTF type in the name of a BPF trampoline (`bpf_trampoline_compute_key()`).
fn target_of(trampoline: &str) -> Option<(u32, u32)> {
    let (_, rest) = trampoline.split_once("bpf_trampoline_")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let key: u64 = digits.parse().ok()?;
    let object = u32::try_from(key >> 32).ok()?;
    let kind = u32::try_from(key & 0x7fff_ffff).ok()?;
    Some((object, kind))
}

/// Line of `enabled_functions` after `line` if it names a direct caller, else empty.
pub(crate) fn trampoline<'l>(list: &'l str, line: &str) -> &'l str {
    // `line` is a slice of `list`.
    let after = (line.as_ptr() as usize + line.len()).saturating_sub(list.as_ptr() as usize);
    let next = list.get(after..).unwrap_or_default().trim_start_matches(['\r', '\n']).lines().next();
    next.filter(|next| next.contains("direct-->")).unwrap_or_default()
}

/// Overrides of the functions of enabled patches, as sentences.
#[derive(Default)]
pub(crate) struct Bypasses {
    pub(crate) certain: Vec<String>,
    pub(crate) possible: Vec<String>,
    /// Checks that could not be made.
    pub(crate) unchecked: Vec<String>,
}

/// Overrides of the functions of these patches.
pub(crate) fn of_patches(system: &System, patches: &[&str]) -> Result<Bypasses, Error> {
    let mut bypasses = Bypasses::default();
    let mut functions = Vec::new();
    for patch in patches {
        functions.extend(livepatch::replaced_by(system, patch)?);
    }
    if functions.is_empty() {
        return Ok(bypasses);
    }
    functions.sort_unstable();
    functions.dedup();
    let overrides = Overrides::new(system);
    let mut add = |found: Effect| match found {
        Effect::None => {}
        Effect::Possible(text) => bypasses.possible.push(text),
        Effect::Certain(text) => bypasses.certain.push(text),
    };
    let mut unchecked = Vec::new();
    match readable(system, &ENABLED_FUNCTIONS) {
        Ok(list) => {
            if is_ftrace_gone(system, &list, patches)? {
                add(Effect::Certain(FTRACE_GONE.to_owned()));
            }
            for (object, function) in &functions {
                for line in list.lines().filter(|line| is_of(line, object, function) && has_flag(line, "D")) {
                    add(overrides.direct(function, trampoline(&list, line)));
                }
            }
        }
        Err(why) => unchecked.push(format!("BPF programs on the replaced functions ({why})")),
    }
    match readable(system, &[KPROBES]) {
        Ok(list) => {
            for (_, function) in &functions {
                let place = |line: &str| {
                    line.split_whitespace().nth(2).map(|place| place == format!("{function}+0x0"))
                };
                if list.lines().any(|line| place(line) == Some(true)) {
                    add(overrides.probe(function));
                }
            }
        }
        Err(why) => unchecked.push(format!("kprobes on the replaced functions ({why})")),
    }
    bypasses.unchecked = unchecked;
    Ok(bypasses)
}

/// The kernel lists no traced function once it has called `ftrace_kill()`; the functions of a patch are among the traced ones.
const FTRACE_GONE: &str = "the kernel has switched ftrace off after an error of its own (a WARNING of ftrace.c in its log): replaced functions may run as they were before the patch, and the fix is off for them; only a reboot brings ftrace back";

/// True if the kernel has switched ftrace off; `list` is the content of `enabled_functions`. The functions of a module that is not
/// loaded are not replaced.
pub(crate) fn is_ftrace_gone<P: AsRef<str>>(
    system: &System,
    list: &str,
    patches: &[P],
) -> Result<bool, Error> {
    if list.trim().is_empty() {
        for patch in patches {
            if !livepatch::functions_of(system, patch.as_ref())?.is_empty() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// True if the kernel has switched ftrace off, as far as its list of traced functions can be read.
pub(crate) fn is_ftrace_gone_under(system: &System, patch: &str) -> Result<bool, Error> {
    readable(system, &ENABLED_FUNCTIONS).map_or(Ok(false), |list| is_ftrace_gone(system, &list, &[patch]))
}

fn readable(system: &System, paths: &[&str]) -> Result<String, String> {
    let mut why = "not mounted".to_owned();
    for path in paths {
        match system.read(path) {
            Ok(Some(text)) => return Ok(text),
            Ok(None) => {}
            Err(error) => why = error.to_string(),
        }
    }
    Err(format!("{}: {why}", paths.first().unwrap_or(&"")))
}

/// True if a line of `enabled_functions`, such as `open [ext4] (1) R   D M`, is about a function.
pub(crate) fn is_of(line: &str, object: &str, function: &str) -> bool {
    let mut words = line.split_whitespace();
    let name = words.next() == Some(function);
    let module = words.next().and_then(|word| word.strip_prefix('['));
    name && module.map_or("vmlinux", |word| word.trim_end_matches(']')) == object
}

/// True if such a line has a flag.
pub(crate) fn has_flag(line: &str, flag: &str) -> bool {
    let flags = line.split_once(')').map_or("", |(_, rest)| rest);
    let flags = flags.split("tramp").next().unwrap_or(flags).split("->").next().unwrap_or(flags);
    flags.split_whitespace().any(|word| word == flag)
}
