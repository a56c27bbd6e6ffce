//! Messages between the clients of this server: PUBLISH, SUBSCRIBE, PSUBSCRIBE.
//!
//! They reach those that are connected to the same server, and are kept by nobody. A subscriber that does not read is
//! cut off at the bound of its output. The map is behind one lock, held while a message is handed out, never while one
//! is sent.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::clients::Client;

/// A message on its way to a subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The pattern through which it came, if it did.
    pub pattern: Option<Arc<[u8]>>,
    /// Where it was published.
    pub channel: Arc<[u8]>,
    /// What.
    pub payload: Arc<[u8]>,
}

impl Message {
    fn bytes(&self) -> usize {
        self.channel.len() + self.payload.len() + 64
    }
}

/// All subscriptions of this server.
#[derive(Default)]
pub struct Channels(Mutex<Subscriptions>);

/// A subscriber by its connection's number.
type Subscribers = BTreeMap<u64, Outbox>;

#[derive(Default)]
struct Subscriptions {
    channels: HashMap<Arc<[u8]>, Subscribers>,
    patterns: HashMap<Arc<[u8]>, Subscribers>,
}

/// The way to a subscriber.
#[derive(Clone)]
struct Outbox {
    client: Arc<Client>,
    sender: UnboundedSender<Message>,
    waiting: Arc<AtomicUsize>,
    most_bytes: usize,
}

impl Outbox {
    fn send(&self, message: Message) {
        let waiting = self.waiting.fetch_add(message.bytes(), Ordering::Relaxed) + message.bytes();
        if waiting > self.most_bytes {
            self.client.kill();
        } else {
            // A subscriber that just left gets nothing more.
            let _ = self.sender.send(message);
        }
    }
}

/// What a connection has subscribed to, and its messages. Dropping it ends its subscriptions.
pub struct Subscriber {
    hub: Arc<Channels>,
    outbox: Outbox,
    inbox: UnboundedReceiver<Message>,
    channels: Vec<Arc<[u8]>>,
    patterns: Vec<Arc<[u8]>>,
}

/// A channel by its name, or all whose names match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SUBSCRIBE.
    Channel,
    /// PSUBSCRIBE.
    Pattern,
}

impl Channels {
    /// A connection that has subscribed to nothing yet, and may have `most_bytes` of messages waiting.
    pub fn subscriber(self: &Arc<Self>, client: &Arc<Client>, most_bytes: usize) -> Subscriber {
        let (sender, inbox) = unbounded_channel();
        let outbox = Outbox { client: Arc::clone(client), sender, waiting: Arc::default(), most_bytes };
        Subscriber { hub: Arc::clone(self), outbox, inbox, channels: Vec::new(), patterns: Vec::new() }
    }

    /// Gives `payload` to all that subscribed to `channel`; how often it was given.
    pub fn publish(&self, channel: &[u8], payload: &[u8]) -> usize {
        let subscriptions = self.lock();
        let message = |pattern| Message { pattern, channel: channel.into(), payload: payload.into() };
        let mut given = 0;
        let named = subscriptions.channels.get(channel).into_iter().map(|found| (None, found));
        let matching =
            subscriptions.patterns.iter().filter(|(pattern, _)| kv::pattern::matches(pattern, channel));
        for (pattern, subscribers) in named.chain(matching.map(|(pattern, found)| (Some(pattern), found))) {
            let message = message(pattern.cloned());
            subscribers.values().for_each(|outbox| outbox.send(message.clone()));
            given += subscribers.len();
        }
        given
    }

    /// Channels that have subscribers and match `pattern`.
    pub fn matching(&self, pattern: Option<&[u8]>) -> Vec<Arc<[u8]>> {
        let subscriptions = self.lock();
        let names = subscriptions.channels.keys();
        names
            .filter(|name| pattern.is_none_or(|pattern| kv::pattern::matches(pattern, name)))
            .cloned()
            .collect()
    }

    /// How many have subscribed to `channel`.
    pub fn subscribers(&self, channel: &[u8]) -> usize {
        self.lock().channels.get(channel).map_or(0, BTreeMap::len)
    }

    /// How many patterns there are.
    pub fn patterns(&self) -> usize {
        self.lock().patterns.len()
    }

    fn lock(&self) -> MutexGuard<'_, Subscriptions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriptions {
    fn of(&mut self, kind: Kind) -> &mut HashMap<Arc<[u8]>, Subscribers> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
        }
    }
}

impl Subscriber {
    /// The next message.
    pub async fn next(&mut self) -> Option<Message> {
        let message = self.inbox.recv().await?;
        self.outbox.waiting.fetch_sub(message.bytes(), Ordering::Relaxed);
        Some(message)
    }

    /// Adds a subscription.
    pub fn subscribe(&mut self, kind: Kind, name: &[u8]) {
        if self.names(kind).iter().any(|known| **known == *name) {
            return;
        }
        let name: Arc<[u8]> = name.into();
        self.names_mut(kind).push(Arc::clone(&name));
        let mut subscriptions = self.hub.lock();
        let subscribers = subscriptions.of(kind).entry(name).or_default();
        subscribers.insert(self.outbox.client.id, self.outbox.clone());
    }

    /// Ends a subscription, if there is one.
    pub fn unsubscribe(&mut self, kind: Kind, name: &[u8]) {
        self.names_mut(kind).retain(|known| **known != *name);
        let mut subscriptions = self.hub.lock();
        let of_kind = subscriptions.of(kind);
        if let Some(subscribers) = of_kind.get_mut(name) {
            subscribers.remove(&self.outbox.client.id);
            if subscribers.is_empty() {
                of_kind.remove(name);
            }
        }
    }

    /// What it has subscribed to.
    pub fn names(&self, kind: Kind) -> &[Arc<[u8]>] {
        match kind {
            Kind::Channel => &self.channels,
            Kind::Pattern => &self.patterns,
        }
    }

    fn names_mut(&mut self, kind: Kind) -> &mut Vec<Arc<[u8]>> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
        }
    }

    /// Ends all subscriptions.
    pub fn clear(&mut self) {
        for kind in [Kind::Channel, Kind::Pattern] {
            for name in self.names(kind).to_vec() {
                self.unsubscribe(kind, &name);
            }
        }
    }

    /// Channels and patterns.
    pub fn count(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.clear();
    }
}
