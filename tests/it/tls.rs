//! HTTPS of the server's own, with clients that check its certificate.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use switchboard_tests::{Site, say_skipped, wait_until};

use crate::hostile::receivers::authority;

type Authority = CertifiedIssuer<'static, KeyPair>;

/// Writes a certificate for this machine and its key to where the settings name them.
fn write_identity(site: &Site, authority: &Authority) {
    let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap().pem() + &authority.pem();
    fs::write(site.path().join("server.pem"), certificate).unwrap();
    fs::write(site.path().join("server.key"), key.serialize_pem()).unwrap();
}

fn site_with_tls(authority: &Authority) -> Site {
    let site = Site::new();
    write_identity(&site, authority);
    site.settings("[http]\ntls_certificate = \"server.pem\"\ntls_key = \"server.key\"\n");
    site
}

/// Gets a page of a server whose certificate has to be from this authority; an error says why it is not.
fn get(address: &str, authority: &Authority, path: &str) -> Result<String, String> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connection = ClientConnection::new(config, name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address).unwrap());
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
    Ok(answer)
}

#[test]
fn pages_are_served_over_https_and_a_changed_certificate_holds_without_a_restart() {
    let (first, second) = (authority("first"), authority("second"));
    let site = site_with_tls(&first);
    let serving = site.serve();
    let answer = get(&serving.address, &first, "/sign-in").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let refused = get(&serving.address, &second, "/sign-in").unwrap_err();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    // Whoever speaks plain HTTP learns nothing.
    let mut plain = TcpStream::connect(&serving.address).unwrap();
    plain.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    assert!(!said.starts_with(b"HTTP"), "{said:?}");

    // A certificate without its key is not taken; both together are.
    let key = fs::read(site.path().join("server.key")).unwrap();
    write_identity(&site, &second);
    let new_key = fs::read(site.path().join("server.key")).unwrap();
    fs::write(site.path().join("server.key"), key).unwrap();
    wait_until("the wrong pair is noticed", || {
        let answer = get(&serving.address, &first, "/livez").unwrap();
        assert!(answer.ends_with("ok\n"), "{answer}");
        site.log("Admin").contains("a changed certificate cannot be used: the one before goes on")
    });
    fs::write(site.path().join("server.key"), new_key).unwrap();
    wait_until("the new certificate holds", || get(&serving.address, &second, "/livez").is_ok());
    assert!(serving.terminate().success());
}

#[test]
fn a_browser_is_told_to_keep_its_cookie_to_https_and_curl_trusts_the_certificate() {
    let authority = authority("ours");
    let site = site_with_tls(&authority);
    let ca = site.path().join("ca.pem");
    fs::write(&ca, authority.pem()).unwrap();
    let _ = site
        .run_with_input(&["user", "add", "ada", "--role", "operator", "--password", "-"], "correct horse battery")
        .ok();
    let serving = site.serve();
    let url = format!("https://{}/sign-in", serving.address);
    let body = ["--data", "name=ada&password=correct+horse+battery", "--header", "sec-fetch-site: same-origin"];
    let sent = Command::new("curl")
        .args(["--silent", "--show-error", "--include", "--cacert"])
        .arg(&ca)
        .args(body)
        .arg(url)
        .output();
    let Ok(output) = sent else { return say_skipped("curl is missing: HTTPS is tried with rustls only") };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.starts_with("HTTP/1.1 303"), "{output:?}");
    assert!(said.contains("__Host-switchboard=") && said.contains("; Secure"), "{said}");
}

#[test]
fn an_address_that_others_reach_needs_https_and_is_told_as_one_that_can_be_opened() {
    let site = Site::new();
    site.run(&["serve", "--listen", "0.0.0.0:0"]).refused(2, &["in plain text", "tls_certificate", "behind_proxy"]);
    let site = site_with_tls(&authority("ours"));
    let mut command = site.command(&["serve", "--listen", "0.0.0.0:0"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = std::io::BufReader::new(child.stdout.take().unwrap());
    let lines: Vec<String> = std::io::BufRead::lines(lines).take(4).map(Result::unwrap).collect();
    child.kill().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    child.wait().unwrap();
    assert!(lines[0].starts_with("switchboard is ready on https://127.0.0.1:"), "{lines:?}");
    assert!(lines[3].starts_with("set up the first user: https://127.0.0.1:"), "{lines:?}");
    assert!(!lines.concat().contains("0.0.0.0"), "{lines:?}");
    assert!(said.contains("it listens on 0.0.0.0:") && said.contains("name it in `hosts`"), "{said}");
}

#[test]
fn files_that_cannot_be_used_keep_the_host_from_starting_and_say_why() {
    let site = site_with_tls(&authority("ours"));
    let serve = || site.run(&["serve", "--listen", "127.0.0.1:0"]);
    fs::write(site.path().join("server.pem"), "no certificate").unwrap();
    serve().refused(2, &["`http.tls_certificate`", "server.pem", "PEM"]);
    write_identity(&site, &authority("ours"));
    fs::write(site.path().join("server.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    serve().refused(2, &["server.pem", "server.key", "cannot be used together"]);
    fs::remove_file(site.path().join("server.key")).unwrap();
    serve().refused(2, &["`http.tls_key`", "server.key"]);
    let (worst, found) = crate::operations::diagnosis(&site, "https");
    assert_eq!(worst, "fail", "{found}");
    site.settings("[http]\ntls_certificate = \"server.pem\"\n");
    site.run(&["config", "check"]).refused(2, &["`http.tls_certificate`", "without `http.tls_key`"]);
}
