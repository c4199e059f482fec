// SPDX-License-Identifier: GPL-2.0-or-later
//! Signatures of modules: verb `sign`, and `package --signed-module`.

use std::fs;
use std::path::{Path, PathBuf};

use klp_base::events::Silent;
use klp_base::process::{Cmd, find_program};
use klp_module::signature;
use tempfile::TempDir;

const KERNEL: &str = "debian-6.12";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn xtask(words: &[&str]) -> Cmd {
    Cmd::new(env!("CARGO_BIN_EXE_xtask")).args(words).env_remove("RUST_BACKTRACE")
}

/// Error text of a command that must fail.
fn refused(cmd: &Cmd) -> String {
    let output = cmd.output().unwrap();
    assert!(!output.status.success(), "{}", cmd.typed());
    output.stderr_text()
}

/// Scratch directory with keys and the module of stream `demo`.
struct Desk {
    dir: TempDir,
    module: PathBuf,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["key", "other"] {
            let at = |suffix: &str| dir.path().join(format!("{name}.{suffix}"));
            let new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-keyout"];
            Cmd::new("openssl").args(new).arg(at("pem")).arg("-out").arg(at("crt")).run().unwrap();
        }
        let out = dir.path().join("built");
        let built = xtask(&["build", "demo", "--out"]).arg(&out).run().unwrap();
        let module = PathBuf::from(built.stdout_text().trim());
        assert!(module.is_file() && module.parent() == Some(&out));
        Self { dir, module }
    }

    fn at(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// `sign` of the module with these words, into the directory `out`.
    fn sign(&self, out: &str, words: &[&str]) -> Cmd {
        xtask(&["sign", self.module.to_str().unwrap(), "--out", &self.at(out)]).args(words)
    }

    fn signed(&self, out: &str, words: &[&str]) -> PathBuf {
        PathBuf::from(self.sign(out, words).read().unwrap_or_else(|error| panic!("{error}")))
    }

    fn with_key(&self) -> PathBuf {
        self.signed("signed", &["--sign-key", &self.at("key.pem"), "--sign-cert", &self.at("key.crt")])
    }
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn a_signature_is_the_bytes_of_the_kernels_own_program() {
    let desk = Desk::new();
    let pin = klp_kernel::Pin::load(&root().join("kernel-configs"), KERNEL).unwrap();
    let tree = pin.fetch(&klp_base::cache::Cache::from_env().unwrap(), &Silent).unwrap();
    let program = klp_base::cache::walk(&tree.root).unwrap();
    let program = program.into_iter().find(|path| path.ends_with("scripts/sign-file")).unwrap();
    let (ours, theirs) = (desk.with_key(), desk.at("theirs.ko"));
    for hash in ["sha256", "sha512"] {
        let words = ["--sign-key", &desk.at("key.pem"), "--sign-cert", &desk.at("key.crt"), "--hash", hash];
        let ours = if hash == "sha256" { ours.clone() } else { desk.signed(hash, &words) };
        let cmd = Cmd::new(&program).args([hash, &desk.at("key.pem"), &desk.at("key.crt")]);
        cmd.arg(&desk.module).arg(&theirs).run().unwrap();
        assert!(fs::read(&ours).unwrap() == fs::read(&theirs).unwrap(), "{hash}");
    }
    // Key and certificate in one file, as the kernel's build has them; the certificate in DER.
    let both = desk.at("both.pem");
    fs::write(&both, [fs::read(desk.at("key.pem")).unwrap(), fs::read(desk.at("key.crt")).unwrap()].concat())
        .unwrap();
    let der = desk.at("key.der");
    Cmd::new("openssl")
        .args(["x509", "-in", &desk.at("key.crt"), "-outform", "DER", "-out", &der])
        .run()
        .unwrap();
    let expected = fs::read(&ours).unwrap();
    assert!(fs::read(desk.signed("both", &["--sign-key", &both])).unwrap() == expected);
    let words = ["--sign-key", &desk.at("key.pem"), "--sign-cert", &der];
    assert!(fs::read(desk.signed("der", &words)).unwrap() == expected);
}

#[test]
#[ignore = "needs the pinned kernel, softhsm2 and openssl's engine pkcs11; run by cargo xtask test"]
fn a_key_in_a_token_signs() {
    const TOKEN: &str = "token=live-patches;object=signing;type=private";
    let desk = Desk::new();
    assert!(find_program("softhsm2-util").is_some(), "could not check: softhsm2-util is missing");
    let library = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"];
    let library = library.into_iter().find(|path| Path::new(path).is_file());
    let library = library.expect("could not check: libsofthsm2.so is missing");
    let (conf, pin) = (desk.at("softhsm2.conf"), desk.at("pin"));
    fs::create_dir(desk.at("tokens")).unwrap();
    fs::write(&conf, format!("directories.tokendir = {}\n", desk.at("tokens"))).unwrap();
    fs::write(&pin, "1234").unwrap();
    let token =
        |words: &[&str]| Cmd::new("softhsm2-util").args(words).env("SOFTHSM2_CONF", &conf).run().unwrap();
    let with_pin = ["--pin", "1234", "--so-pin", "1234"];
    token(&[&["--init-token", "--free", "--label", "live-patches"][..], &with_pin].concat());
    let import =
        ["--import", &desk.at("key.pem"), "--token", "live-patches", "--label", "signing", "--id", "01"];
    token(&[&import[..], &with_pin[..2]].concat());
    let sign = |out: &str, uri: &str, cert: &str| {
        let words = ["--sign-key", uri, "--sign-cert", &desk.at(cert)];
        desk.sign(out, &words).env("SOFTHSM2_CONF", &conf).env("PKCS11_MODULE_PATH", library)
    };
    let uri = format!("pkcs11:{TOKEN};pin-source={pin}");
    sign("token", &uri, "key.crt").run().unwrap();
    let name = desk.module.file_name().unwrap();
    let signed = Path::new(&desk.at("token")).join(name);
    assert!(fs::read(signed).unwrap() == fs::read(desk.with_key()).unwrap());
    // The certificate of another key, a PIN on the command line, no certificate.
    refused(&sign("wrong", &uri, "other.crt"));
    let said = refused(&sign("wrong", &format!("pkcs11:{TOKEN};pin-value=1234"), "key.crt"));
    assert!(said.contains("pin-source=FILE"), "{said}");
    let said = refused(&desk.sign("wrong", &["--sign-key", &uri]));
    assert!(said.contains("--sign-cert"), "{said}");
    assert!(!Path::new(&desk.at("wrong")).exists(), "nothing is written without a signature");
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn a_command_signs_and_its_result_is_checked() {
    let desk = Desk::new();
    let command = |key: &str| {
        let (pem, crt) = (desk.at(&format!("{key}.pem")), desk.at(&format!("{key}.crt")));
        format!(
            "openssl cms -sign -binary -noattr -nosmimecap -nocerts -outform DER -md $HASH -signer {crt} -inkey {pem}"
        )
    };
    let cert = desk.at("key.crt");
    let words = |command: &str| {
        ["--sign-command".to_owned(), command.to_owned(), "--sign-cert".to_owned(), cert.clone()]
    };
    let signed = |command: &str| desk.sign("command", &[]).args(words(command));
    signed(&command("key")).run().unwrap();
    let name = desk.module.file_name().unwrap();
    let bytes = fs::read(Path::new(&desk.at("command")).join(name)).unwrap();
    assert!(bytes == fs::read(desk.with_key()).unwrap());
    fs::remove_dir_all(desk.at("command")).unwrap();
    for (command, message) in [
        (command("other").as_str(), "it is not one of this module by the certificate"),
        ("cat >/dev/null; echo signature", "it is not one of this module by the certificate"),
        ("cat >/dev/null", "it is not one of this module by the certificate"),
        ("echo the token is locked >&2; exit 3", "the token is locked"),
    ] {
        let said = refused(&signed(command));
        assert!(said.contains(message), "{command}: {said}");
        assert!(!Path::new(&desk.at("command")).exists(), "{command}");
    }
    let said = refused(&desk.sign("command", &["--sign-command", "true"]));
    assert!(said.contains("--sign-cert"), "{said}");
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn what_cannot_be_signed_is_refused() {
    let desk = Desk::new();
    let signed = desk.with_key();
    let sign = |file: &Path| {
        let key = [desk.at("key.pem"), "--sign-cert".to_owned(), desk.at("key.crt")];
        refused(&xtask(&["sign", file.to_str().unwrap(), "--out", &desk.at("again"), "--sign-key"]).args(key))
    };
    let said = sign(&signed);
    assert!(said.contains("the module has one; sign the module without a signature"), "{said}");
    let text = desk.dir.path().join("text.ko");
    fs::write(&text, "text").unwrap();
    assert!(sign(&text).contains("no ELF file"));
    assert!(sign(&desk.dir.path().join("none.ko")).contains("none.ko"));
    let said = refused(&desk.sign("none", &[]));
    assert!(said.contains("name a signer"), "{said}");
    let said = refused(
        &desk.sign("built", &["--sign-key", &desk.at("key.pem"), "--sign-cert", &desk.at("key.crt")]),
    );
    assert!(said.contains("would be overwritten"), "{said}");
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn a_module_that_was_signed_elsewhere_is_packaged() {
    let desk = Desk::new();
    let signed = desk.with_key();
    let package = |out: &str, module: &Path, words: &[&str]| {
        let cmd = xtask(&["package", "demo", "--out", &desk.at(out), "--signed-module"]).arg(module);
        cmd.args(words)
    };
    let cert = desk.at("key.crt");
    package("later", &signed, &["--sign-cert", &cert]).run().unwrap();
    let at_once = [
        "package",
        "demo",
        "--out",
        &desk.at("once"),
        "--sign-key",
        &desk.at("key.pem"),
        "--sign-cert",
        &cert,
    ];
    xtask(&at_once).run().unwrap();
    let files = klp_base::cache::walk(Path::new(&desk.at("later"))).unwrap();
    assert_eq!(files.len(), 4);
    for file in files {
        let other = Path::new(&desk.at("once")).join(file.strip_prefix(desk.at("later")).unwrap());
        assert!(fs::read(&file).unwrap() == fs::read(other).unwrap(), "{}", file.display());
    }

    let bytes = fs::read(&signed).unwrap();
    let parts = signature::split(&bytes).unwrap().unwrap();
    let mut changed = parts.content.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    let changed = signature::append(&changed, parts.message).unwrap();
    let foreign = signature::append(parts.content, b"message").unwrap();
    for (bytes, words, message) in [
        (parts.content, &[][..], "the module has none; sign it with `cargo xtask sign`"),
        (&changed, &[], "the signed module is another one than this build makes"),
        (&foreign, &["--sign-cert", &cert], "it is not one of this module by the certificate"),
        (&bytes, &["--sign-cert", &desk.at("other.crt")], "it is not one of this module by the certificate"),
    ] {
        let file = desk.dir.path().join("wrong.ko");
        fs::write(&file, bytes).unwrap();
        let said = refused(&package("wrong", &file, words));
        assert!(said.contains(message), "{message}: {said}");
        assert!(!Path::new(&desk.at("wrong")).exists());
    }
}
