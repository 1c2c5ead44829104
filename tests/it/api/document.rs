//! The OpenAPI document.

use std::fs;
use std::path::Path;

use switchboard_tests::Client;

use super::served;

/// The document as it is in the repository. `SWITCHBOARD_WRITE_OPENAPI=1` writes it anew.
#[test]
fn the_document_is_the_one_in_the_repository() {
    let (_site, serving, _client) = served(&[]);
    // Whoever wants to know what there is needs no token.
    let document = Client::at(&serving.address).get("/openapi.json").is(200).body;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/openapi.json");
    if std::env::var_os("SWITCHBOARD_WRITE_OPENAPI").is_some() {
        fs::write(&path, format!("{document}\n")).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    let first = stored.lines().zip(document.lines()).position(|(stored, served)| stored != served);
    assert!(
        stored.trim_end() == document,
        "the API has changed, from line {first:?} of docs/openapi.json on: say so in CHANGELOG.md, and write the document \
         anew with SWITCHBOARD_WRITE_OPENAPI=1"
    );
}
