//! A sync site played by the test, call by call, to one follower of OpenAFS's.

use std::time::{SystemTime, UNIX_EPOCH};

use rx::rpc::CallStream;
use rx::security::NullSecurity;
use rx::{AbortCode, CallFailure, Connection, Port, PortConfig, ServiceId, Timeouts};
use ubik_proto::messages::{Beacon, DiskCall, LOCK_WRITE, VoteCall, Write};
use ubik_proto::version::{TransactionId, Version};

use crate::cell::{Cell, ELECTION, Service, wait_for};

/// The two services of a follower.
struct Follower {
    vote: Connection,
    disk: Connection,
}

impl Follower {
    fn answer(connection: &Connection, request: &[u8]) -> Result<Vec<u8>, CallFailure> {
        let mut call = connection.start()?;
        call.write(request)?;
        let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match call.read(&mut buffer)? {
                0 => return Ok(answer),
                count => answer.extend_from_slice(&buffer[..count]),
            }
        }
    }

    fn call(&self, call: &DiskCall) -> Vec<u8> {
        Self::answer(&self.disk, &call.encode()).unwrap_or_else(|code| panic!("{}: {code}", call.name()))
    }

    fn version(&self) -> Version {
        Version::decode(&self.call(&DiskCall::GetVersion)).unwrap()
    }

    /// The database's bytes.
    fn database(&self) -> Vec<u8> {
        let answer = self.call(&DiskCall::GetFile { file: 0 });
        let length = u32::from_be_bytes(answer[..4].try_into().unwrap()) as usize;
        answer[4..4 + length].to_vec()
    }

    /// Whether it says yes to a sync site that vouches for `version` and runs `transaction`.
    fn follows(&self, version: Version, transaction: TransactionId) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i32;
        let beacon = Beacon { claims_sync_site: true, start: now, version, transaction };
        // A yes is an abort with the voter's clock.
        let voted = Self::answer(&self.vote, &VoteCall::Beacon(beacon).encode());
        voted.is_err_and(
            |failure| matches!(failure, CallFailure::Aborted(AbortCode(code)) if (code - now).abs() < 100),
        )
    }

    fn begin(&self, transaction: TransactionId) {
        assert!(self.follows(self.version(), transaction));
        self.call(&DiskCall::Begin(transaction));
        self.call(&DiskCall::Lock { transaction, file: 0, position: 1, length: 1, kind: LOCK_WRITE });
    }
}

/// Beyond what ptserver looks at.
const PLACE: u32 = 1 << 20;

/// One transaction that is aborted leaves nothing; one with every kind of change leaves what they say, in their order.
pub fn every_call(service: Service) {
    let mut cell = Cell::new(service, 2, &[]);
    cell.seed(&[1]);
    cell.start_openafs(&[1]);
    let namespace = cell.lab.nodes[0].namespace();
    let play = || {
        namespace.enter();
        let own = format!("10.77.0.11:{}", service.port).parse().unwrap();
        let port = Port::open(own, PortConfig::default()).unwrap();
        let address = format!("10.77.0.12:{}", service.port).parse().unwrap();
        let connect = |id| port.connect(address, ServiceId(id), &NullSecurity, Timeouts::default());
        let follower = Follower { vote: connect(50), disk: connect(51) };
        let running = |counter| TransactionId { epoch: 1_700_000_000, counter };
        wait_for("OpenAFS follows the test", ELECTION, || {
            let version = Follower::answer(&follower.disk, &DiskCall::GetVersion.encode()).ok()?;
            follower.follows(Version::decode(&version).ok()?, running(1)).then_some(())
        });
        let (version, before) = (follower.version(), follower.database());

        let write = |transaction, position, bytes: &[u8]| {
            let write = Write { file: 0, position, bytes: bytes.to_vec() };
            follower.call(&DiskCall::Write { transaction, write });
        };
        follower.begin(running(1));
        write(running(1), 64, b"never");
        follower.call(&DiskCall::Truncate { transaction: running(1), file: 0, length: 128 });
        follower.call(&DiskCall::Abort(running(1)));
        assert_eq!((follower.version(), follower.database()), (version, before.clone()), "nothing is left");

        let transaction = running(2);
        follower.begin(transaction);
        write(transaction, PLACE, &[1; 3000]);
        follower.call(&DiskCall::Truncate { transaction, file: 0, length: PLACE + 1500 });
        let writes = [(PLACE + 100, vec![2; 50]), (PLACE + 200, vec![3; 50])]
            .map(|(position, bytes)| Write { file: 0, position, bytes });
        follower.call(&DiskCall::WriteV { transaction, writes: writes.into() });
        write(transaction, PLACE + 120, &[4; 5]);
        follower.call(&DiskCall::Commit(transaction));
        follower.call(&DiskCall::ReleaseLocks(transaction));
        assert_eq!(Some(follower.version()), version.next());
        let after = follower.database();
        let mut expected = vec![1; 1500];
        expected[100..150].fill(2);
        expected[200..250].fill(3);
        expected[120..125].fill(4);
        let found = &after[PLACE as usize..];
        assert_eq!(found[..1500], expected);
        assert!(found[1500..].iter().all(|&byte| byte == 0), "what was cut is gone");
        assert_eq!(after[..before.len()], before, "and the rest as it was");
    };
    std::thread::scope(|scope| scope.spawn(play).join().unwrap());
}
