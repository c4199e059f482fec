// SPDX-License-Identifier: GPL-2.0-or-later
//! Signature at the end of a module file: module, message (PKCS#7), `struct module_signature`, marker.
//!
//! Sources: `include/linux/module_signature.h` and `kernel/module_signature.c`.

/// Last bytes of a signed module (`MODULE_SIG_STRING`).
const MARKER: &[u8] = b"~Module signature appended~\n";
/// Length of `struct module_signature`.
const TRAILER: usize = 12;
/// Offset of `id_type` in `struct module_signature`.
const ID_TYPE: usize = 2;
/// `PKEY_ID_PKCS7`, the only kind of signature that the kernel takes.
const PKCS7: u8 = 2;

/// Parts of a signed module file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed<'a> {
    /// Module without its signature.
    pub content: &'a [u8],
    /// PKCS#7 message in DER.
    pub message: &'a [u8],
}

/// Fault of a signature's trailer, for which the kernel refuses the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The file is too short for the trailer, or for the message of the length in it.
    #[error("its signature is cut: the length in its trailer does not fit the file")]
    Length,
    /// The kind is not PKCS#7, or a field that PKCS#7 leaves empty is in use.
    #[error("its signature is of a kind that the kernel does not know (PKCS#7 is the only one)")]
    Kind,
}

/// True if the file ends with the marker of a signature.
pub fn is_signed(bytes: &[u8]) -> bool {
    bytes.ends_with(MARKER)
}

/// Parts of a signed module; `None` if it has no signature. The message is not checked.
///
/// # Errors
/// The trailer is not one that the kernel accepts.
pub fn split(bytes: &[u8]) -> Result<Option<Signed<'_>>, SignatureError> {
    let Some(rest) = bytes.strip_suffix(MARKER) else { return Ok(None) };
    let (rest, trailer) = rest.split_last_chunk::<TRAILER>().ok_or(SignatureError::Length)?;
    let [fields @ .., a, b, c, d] = *trailer;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).map_err(|_| SignatureError::Length)?;
    let mut expected = [0; TRAILER - 4];
    expected[ID_TYPE] = PKCS7;
    if fields != expected {
        return Err(SignatureError::Kind);
    }
    let at = rest.len().checked_sub(length).ok_or(SignatureError::Length)?;
    let (content, message) = rest.split_at_checked(at).ok_or(SignatureError::Length)?;
    Ok(Some(Signed { content, message }))
}

/// Module file of a module and the PKCS#7 message (DER) that signs it. `None` if the message is longer than a trailer can
/// tell.
pub fn append(content: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(message.len()).ok()?;
    let mut trailer = [0; TRAILER];
    trailer[ID_TYPE] = PKCS7;
    trailer[TRAILER - 4..].copy_from_slice(&length.to_be_bytes());
    Some([content, message, &trailer, MARKER].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_module_is_split_into_what_was_appended() {
        let signed = append(b"module", b"message").unwrap();
        assert_eq!(split(&signed), Ok(Some(Signed { content: b"module", message: b"message" })));
        assert!(is_signed(&signed) && !is_signed(b"module"));
        assert_eq!(split(b"module"), Ok(None));
    }

    #[test]
    fn a_trailer_that_the_kernel_refuses_is_an_error() {
        let signed = append(b"module", b"message").unwrap();
        let trailer = signed.len() - MARKER.len() - TRAILER;
        let changed = |at: usize, byte: u8| {
            let mut bytes = signed.clone();
            bytes[trailer + at] = byte;
            split(&bytes).map(|found| found.map(|signed| signed.message.len()))
        };
        for at in [0, 1, 2, 3, 4, 5, 6, 7] {
            assert_eq!(changed(at, 9), Err(SignatureError::Kind), "byte {at}");
        }
        assert_eq!(changed(8, 1), Err(SignatureError::Length));
        assert_eq!(changed(11, 14), Err(SignatureError::Length), "one byte more than the file has");
        assert_eq!(changed(11, 13), Ok(Some(13)));
        assert_eq!(split(MARKER), Err(SignatureError::Length));
    }
}
