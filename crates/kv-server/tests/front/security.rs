//! Users, passwords, certificates, and who may listen where.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use kv::Memory;
use kv_server::{Server, Settings, TlsFiles, hash_password};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use resp::Value;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::client::{Front, PATIENCE, error, ok, settings, text};

fn users(passwords: &[(&str, &str)]) -> BTreeMap<String, String> {
    let hash = |password: &str| match password {
        "secret" => SECRET.clone(),
        other => hash_password(other.as_bytes()).unwrap(),
    };
    passwords.iter().map(|(name, password)| ((*name).to_owned(), hash(password))).collect()
}

static SECRET: LazyLock<String> = LazyLock::new(|| hash_password(b"secret").unwrap());

/// S15: without the right password nothing is answered but AUTH and HELLO; guessing ends the connection.
#[test]
fn nothing_is_answered_without_the_password() {
    let front = Front::with(|settings| settings.users = users(&[("alice", "secret"), ("default", "secret")]));
    let mut client = front.connect();
    for command in ["GET a", "INFO", "SUBSCRIBE x", "EVAL return 0", "MULTI", "NONSENSE", "PING"] {
        assert!(client.refused(command).starts_with("NOAUTH"), "{command}");
    }
    assert!(client.refused("HELLO 3").starts_with("NOAUTH"));
    for command in ["AUTH wrong", "AUTH alice wrong", "AUTH nobody secret", "HELLO 3 AUTH alice wrong"] {
        assert!(client.refused(command).starts_with("WRONGPASS"), "{command}");
    }
    assert!(client.refused("GET a").starts_with("NOAUTH"));
    assert_eq!(client.ask("AUTH secret"), ok());
    assert_eq!(client.ask("ACL WHOAMI"), text("default"));
    assert!(matches!(client.ask("HELLO 3 AUTH alice secret"), Value::Map(_)));
    assert_eq!(client.ask("ACL WHOAMI"), text("alice"));
    client.ask("RESET");
    assert!(client.refused("GET a").starts_with("NOAUTH"));
    let mut guesser = front.connect();
    let guesses = (0..100).take_while(|number| guesser.tried_auth(*number)).count();
    assert!(guesses < 10, "{guesses} guesses on one connection");
}

impl crate::client::Wire {
    fn tried_auth(&mut self, number: i32) -> bool {
        use std::io::Write;
        let _ = self.stream.write_all(format!("AUTH alice guess{number}\r\n").as_bytes());
        self.next().is_some()
    }
}

/// S15, S25: who has not authenticated can make the server hold little, and not for long.
#[test]
fn strangers_are_held_short() {
    let front = Front::with(|settings| {
        settings.users = users(&[("alice", "secret")]);
        settings.limits.authentication_timeout = Duration::from_millis(300);
    });
    let mut client = front.connect();
    client.send(b"*2\r\n$4\r\nAUTH\r\n$100000\r\n");
    assert!(matches!(client.next(), Some(Value::Error(_))));
    assert_eq!(client.next(), None);
    let mut silent = front.connect();
    assert!(
        matches!(silent.next(), Some(Value::Error(text)) if text.ends_with(b"in time")),
        "it is told why"
    );
    assert_eq!(silent.next(), None);
}

/// S2, S26: users are exchanged while the server runs; those that are gone are cut off, others notice nothing.
#[test]
fn users_change_while_the_server_runs() {
    let front = Front::with(|settings| settings.users = users(&[("alice", "secret"), ("bob", "secret")]));
    let (mut alice, mut bob) = (front.connect(), front.connect());
    assert_eq!(alice.ask("AUTH alice secret"), ok());
    assert_eq!(bob.ask("AUTH bob secret"), ok());
    let mut fewer = users(&[("alice", "secret"), ("carol", "new")]);
    front.server().replace_users(&fewer).unwrap();
    assert_eq!(bob.next(), None);
    assert_eq!(alice.ask("GET a"), Value::Null);
    assert!(front.connect().refused("AUTH bob secret").starts_with("WRONGPASS"));
    assert_eq!(front.connect().ask("AUTH carol new"), ok());
    fewer.insert("dora".to_owned(), "plain text".to_owned());
    let error = front.server().replace_users(&fewer).unwrap_err().to_string();
    assert!(error.contains("user dora: not an argon2 hash"), "{error}");
    assert_eq!(front.connect().ask("AUTH carol new"), ok());
}

/// S15: an address of the network needs authentication, or a configuration that says in so many words that it has none.
#[test]
fn nothing_listens_on_the_network_without_authentication() {
    let start = |change: &dyn Fn(&mut Settings)| {
        let mut settings = Settings { listen: vec![SocketAddr::from(([0, 0, 0, 0], 0))], ..settings() };
        change(&mut settings);
        let server = Server::start(settings, Arc::new(Memory::new(1).unwrap()), Arc::new(|_, _| ()));
        server.map(|server| server.stop(Duration::ZERO)).map_err(|error| error.to_string())
    };
    let refused = start(&|_| ()).unwrap_err();
    assert!(refused.contains("without-authentication = true"), "{refused}");
    start(&|settings| settings.without_authentication = true).unwrap();
    start(&|settings| settings.users = users(&[("alice", "secret")])).unwrap();
    let refused = start(&|settings| {
        settings.listen.clear();
        settings.listen_tls = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    });
    assert!(refused.unwrap_err().contains("tls.certificate"));
}

/// An authority, a server's certificate and a client's, in a folder.
struct Certificates {
    folder: TempDir,
}

impl Certificates {
    fn new() -> Certificates {
        let folder = tempfile::tempdir().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        for name in ["localhost", "client"] {
            let key = KeyPair::generate().unwrap();
            let certificate =
                CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
            fs::write(folder.path().join(format!("{name}.pem")), certificate.pem()).unwrap();
            fs::write(folder.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        Certificates { folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn files(&self, client_ca: bool) -> TlsFiles {
        TlsFiles {
            certificate: self.path("localhost.pem"),
            key: self.path("localhost.key"),
            client_ca: client_ca.then(|| self.path("ca.pem")),
        }
    }

    fn front(&self, client_ca: bool) -> Front {
        Front::with(|settings| {
            settings.tls = Some(self.files(client_ca));
            settings.listen_tls = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        })
    }

    /// PING over TLS, with or without a client's certificate.
    fn ping(&self, address: SocketAddr, with_certificate: bool) -> Result<String, String> {
        use std::io::{Read, Write};
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap()).unwrap();
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let config = match with_certificate {
            false => builder.with_no_client_auth(),
            true => {
                let certificate = CertificateDer::from_pem_file(self.path("client.pem")).unwrap();
                let key = PrivateKeyDer::from_pem_file(self.path("client.key")).unwrap();
                builder.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = StreamOwned::new(connection, socket);
        stream.write_all(b"PING\r\n").map_err(|error| error.to_string())?;
        let mut reply = [0; 7];
        stream.read_exact(&mut reply).map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(&reply).into_owned())
    }
}

/// S15: clients speak over TLS; where certificates of clients are asked for, one without is refused; plain bytes are, too.
#[test]
fn clients_connect_with_tls() {
    let certificates = Certificates::new();
    let front = certificates.front(false);
    let address = front.server().tls_addresses()[0];
    assert_eq!(certificates.ping(address, false).unwrap(), "+PONG\r\n");
    let mut plain = crate::client::Wire::to(address);
    plain.send(b"PING\r\n");
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut plain.stream, &mut answer).unwrap();
    assert!(!answer.starts_with(b"+PONG"), "no plain text is answered");
    let strict = certificates.front(true);
    let address = strict.server().tls_addresses()[0];
    assert_eq!(certificates.ping(address, true).unwrap(), "+PONG\r\n");
    assert!(certificates.ping(address, false).is_err());
}

/// S2, S26: certificates are exchanged while the server runs; bad ones are refused and the old ones stay.
#[test]
fn certificates_change_while_the_server_runs() {
    let old = Certificates::new();
    let front = old.front(false);
    let address = front.server().tls_addresses()[0];
    assert_eq!(old.ping(address, false).unwrap(), "+PONG\r\n");
    let new = Certificates::new();
    front.server().reload_certificates(&new.files(false)).unwrap();
    assert!(old.ping(address, false).is_err(), "it is signed by another authority now");
    assert_eq!(new.ping(address, false).unwrap(), "+PONG\r\n");
    let bad = TlsFiles { certificate: old.path("localhost.pem"), ..new.files(false) };
    assert!(front.server().reload_certificates(&bad).unwrap_err().to_string().contains("localhost.pem"));
    assert_eq!(new.ping(address, false).unwrap(), "+PONG\r\n");
}

/// S15: bad certificates are refused with the file and what is wrong.
#[test]
fn bad_certificates_are_refused() {
    let certificates = Certificates::new();
    fs::write(certificates.path("empty.pem"), "").unwrap();
    let files = |certificate: &str, key: &str| TlsFiles {
        certificate: certificates.path(certificate),
        key: certificates.path(key),
        client_ca: None,
    };
    let cases = [
        (files("missing.pem", "localhost.key"), "missing.pem"),
        (files("empty.pem", "localhost.key"), "empty.pem: no certificate"),
        (files("localhost.key", "localhost.key"), "localhost.key: no certificate"),
        (files("localhost.pem", "localhost.pem"), "localhost.pem: no private key"),
        (files("localhost.pem", "client.key"), "cannot be used with"),
        (
            TlsFiles { client_ca: Some(Path::new("nowhere.pem").into()), ..certificates.files(false) },
            "nowhere.pem",
        ),
    ];
    for (tls, words) in cases {
        let settings = Settings { tls: Some(tls), ..settings() };
        let started = Server::start(settings, Arc::new(Memory::new(1).unwrap()), Arc::new(|_, _| ()));
        let error = started.err().expect("it is refused").to_string();
        assert!(error.contains(words), "{error}");
    }
}

/// S15: what a browser sends at the will of a web page ends the connection before commands in its body are carried out.
#[test]
fn commands_in_a_request_of_a_browser_are_not_carried_out() {
    let front = Front::start();
    for request in [
        "POST / HTTP/1.1\r\nHost: here\r\n\r\nSET a 1\r\n",
        "GET / HTTP/1.1\r\nhost: here\r\n\r\nSET a 1\r\n",
    ] {
        let mut client = front.connect();
        client.send(request.as_bytes());
        let replies: Vec<_> = std::iter::from_fn(|| client.next()).map(error).collect();
        assert!(replies.last().is_some_and(|last| last.contains("not HTTP")), "{replies:?}");
        assert_eq!(front.connect().ask("EXISTS a"), Value::Integer(0));
    }
}
