#[path = "../tests/ubik/mod.rs"]
mod ubik;
use rx::rpc::CallStream;
fn main() {
    let mut args = std::env::args().skip(1);
    let peer: std::net::SocketAddr = args.next().unwrap().parse().unwrap();
    let keys = args.next();
    let port = rx::Port::open("0.0.0.0:0".parse().unwrap(), rx::PortConfig::default()).unwrap();
    let security: Box<dyn rx::security::SecurityClass> = match keys {
        None => Box::new(rx::security::NullSecurity),
        Some(path) => {
            let level = match args.next().as_deref() {
                Some("crypt") => rx::rxkad::Level::Crypt,
                Some("auth") => rx::rxkad::Level::Auth,
                _ => rx::rxkad::Level::Clear,
            };
            Box::new(rx::keys::client(&rx::keys::read(path.as_ref()).unwrap(), level).unwrap())
        }
    };
    let vote = port.connect(peer, ubik::vote::SERVICE, &*security, rx::Timeouts::default());
    let disk = port.connect(peer, ubik::disk::SERVICE, &*security, rx::Timeouts::default());
    println!("probe {:?}", ubik::disk::request::probe().call(&disk));
    println!("version {:?}", ubik::disk::request::version().call(&disk));
    println!("debug_old {:x?}", ubik::vote::request::debug_old().call(&vote));
    println!(
        "debug {:x?}",
        ubik::vote::request::debug().call(&vote).map(|d| d.first)
    );
    println!(
        "xdebug {:x?}",
        ubik::vote::request::extended_debug()
            .call(&vote)
            .map(|d| (d.debug.first, d.is_clone))
    );
    println!(
        "sdebug 9 {:?}",
        ubik::vote::request::server_debug(9).call(&vote).map(|d| d.first)
    );
    let start = std::time::Instant::now();
    let mut call = ubik::disk::request::file(0).open(&disk).unwrap();
    let length: Result<i32, _> = rx::rpc::read_value(&mut call, rx::AbortCode::CLIENT_UNMARSHAL);
    println!("length {length:?}");
    if let Ok(length) = length {
        let mut bytes = vec![0; length as usize];
        let mut at = 0;
        while at < bytes.len() {
            let n = call.read(&mut bytes[at..]).unwrap();
            assert!(n > 0);
            at += n;
        }
        let version: Result<ubik::Version, _> =
            rx::rpc::read_value(&mut call, rx::AbortCode::CLIENT_UNMARSHAL);
        println!(
            "file {} bytes, version {version:?}, end {:?} in {:?}",
            at,
            call.read(&mut [0]),
            start.elapsed()
        );
    }
    drop(call);
    println!("{:?}", port.counters());
}
