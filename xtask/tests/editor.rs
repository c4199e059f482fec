// SPDX-License-Identifier: GPL-2.0-or-later
//! Test of rust-analyzer with the file from `editor`, through the language server protocol (LSP), and test of
//! the pages from `doc`.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use klp_base::process::{Cmd, Running};
use serde_json::{Value, json};

const FIX: &str = "cmdline";
/// A member of `struct seq_file` on every kernel.
const MEMBER: &str = "private";
const FUNCTION: &str = "cmdline_proc_show";
const PROTOTYPE: &str = "int cmdline_proc_show(struct seq_file *m, void *v)";
/// Time without a message after which the server counts as hung. Its first step is loading `core`, which
/// takes seconds on an idle machine.
const SILENCE: Duration = Duration::from_secs(600);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn xtask(args: &[&str]) -> String {
    Cmd::new(env!("CARGO_BIN_EXE_xtask")).args(args).run().unwrap().stdout_text()
}

/// A running rust-analyzer.
struct Server {
    input: ChildStdin,
    messages: Receiver<Value>,
    _process: Running,
    requests: i64,
}

impl Server {
    fn start() -> Self {
        let program = Cmd::new("rustup").args(["which", "rust-analyzer"]).cwd(root()).read().unwrap();
        let mut process = Cmd::new(program).cwd(root()).spawn().unwrap();
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let mut output = output;
            while let Some(message) = message(&mut output) {
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Self { input, messages, _process: process, requests: 0 }
    }

    fn send(&mut self, message: &Value) {
        let text = message.to_string();
        write!(self.input, "Content-Length: {}\r\n\r\n{text}", text.len()).unwrap();
        self.input.flush().unwrap();
    }

    fn notify(&mut self, method: &str, params: &Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// Waits for a message that `wanted` accepts. Answers requests of the server with null.
    fn wait(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.messages.recv_timeout(SILENCE).expect("rust-analyzer ended or fell silent");
            if wanted(&message) {
                return message;
            }
            if message.get("method").is_some()
                && let Some(id) = message.get("id")
            {
                let answer = json!({ "jsonrpc": "2.0", "id": id, "result": null });
                self.send(&answer);
            }
        }
    }

    fn request(&mut self, method: &str, params: &Value) -> Value {
        self.requests += 1;
        let id = self.requests;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        let answer = self.wait(|message| message.get("method").is_none() && message["id"] == id);
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }
}

/// Next message of the server; `None` at the end of its output.
fn message(output: &mut impl BufRead) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if output.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some(("Content-Length", number)) => length = number.parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut bytes = vec![0; length];
    output.read_exact(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Line and column directly after the first occurrence of `marker`.
fn behind(text: &str, marker: &str) -> Value {
    let end = text.find(marker).unwrap() + marker.len();
    let line = text[..end].matches('\n').count();
    let column = end - text[..end].rfind('\n').map_or(0, |at| at + 1);
    json!({ "line": line, "character": column })
}

#[test]
#[ignore = "needs the pinned kernel and rust-analyzer; run by cargo xtask test"]
fn rust_analyzer_completes_members_and_shows_prototypes() {
    let file = xtask(&["editor", FIX]).trim().to_owned();
    let source = root().join("patches").join(FIX).join("src/lib.rs");
    let uri = format!("file://{}", source.display());
    let folder = format!("file://{}", source.ancestors().nth(2).unwrap().display());
    let text = std::fs::read_to_string(&source).unwrap();
    // The text as edited just before the author types a member's name.
    let text = text.replace("        // SAFETY", "        let _ = unsafe { (*m). };\n        // SAFETY");

    let mut server = Server::start();
    let options = json!({
        "linkedProjects": [file],
        "cachePriming": { "enable": false },
        "checkOnSave": false,
    });
    server.request(
        "initialize",
        &json!({
            "processId": null,
            "rootUri": folder,
            "workspaceFolders": [{ "uri": folder, "name": FIX }],
            "initializationOptions": options,
            "capabilities": {
                "textDocument": { "hover": { "contentFormat": ["plaintext"] } },
                "experimental": { "serverStatusNotification": true },
            },
        }),
    );
    server.notify("initialized", &json!({}));
    let document = json!({ "uri": uri, "languageId": "rust", "version": 1, "text": text });
    server.notify("textDocument/didOpen", &json!({ "textDocument": document }));
    let status = server.wait(|message| {
        message["method"] == "experimental/serverStatus" && message["params"]["quiescent"] == true
    });
    assert_eq!(status["params"]["health"], "ok", "{status}");

    let at = |position: Value| json!({ "textDocument": { "uri": uri }, "position": position });
    let completed = server.request("textDocument/completion", &at(behind(&text, "(*m).")));
    let items = completed.get("items").unwrap_or(&completed).as_array().unwrap();
    let labels: Vec<&str> = items.iter().filter_map(|item| item["label"].as_str()).collect();
    assert!(labels.iter().any(|label| label.starts_with(MEMBER)), "{labels:?}");

    let hover = server.request("textDocument/hover", &at(behind(&text, &format!("fn {FUNCTION}"))));
    let shown = hover["contents"]["value"].as_str().unwrap_or_default();
    assert!(shown.contains(PROTOTYPE), "{hover}");
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn the_documentation_shows_the_prototype_in_c() {
    let pages = xtask(&["doc", FIX]);
    let pages: Vec<&str> = pages.lines().collect();
    let [klp, replaced] = pages.as_slice() else { panic!("{pages:?}") };
    assert!(std::fs::read_to_string(klp).unwrap().contains("livepatch"));
    let page = Path::new(replaced).with_file_name("trait.vmlinux.html");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains(PROTOTYPE) && page.contains(&format!("tymethod.{FUNCTION}")), "{page}");
}
