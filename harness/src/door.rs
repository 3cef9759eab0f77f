//! A door between a sidecar and its backend: it passes TCP on, and has weather.
//!
//! Real loss is for the kernel to make (`netem`), but its module is missing on many machines, hosted CI among them, and needs
//! root. What an app sees of loss through TCP is the same here: waits and resets. No crate serves: `noxious`, the one port
//! of Toxiproxy, has had no release since 2021.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::fault::Weather;

/// The most that is taken from a connection at a time.
const PIECE: usize = 16 << 10;

/// One in so many pieces is lost, and one in so many of those once more.
const LOST: u64 = 3;

#[derive(Debug, Default)]
struct Counts {
    pieces: AtomicU64,
    strikes: AtomicU64,
}

/// Doors with the same weather, until they are dropped.
#[derive(Debug)]
pub struct Doors {
    weather: watch::Sender<Weather>,
    counts: Arc<Counts>,
    listening: JoinSet<()>,
    addresses: Vec<SocketAddr>,
}

impl Default for Doors {
    fn default() -> Self {
        Self {
            weather: watch::Sender::new(Weather::Fair),
            counts: Arc::default(),
            listening: JoinSet::new(),
            addresses: Vec::new(),
        }
    }
}

impl Doors {
    /// Opens one more, unless it is there: who connects to `listen` reaches `backend`. Returns its address.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn open(&mut self, listen: SocketAddr, backend: SocketAddr) -> Result<SocketAddr> {
        if self.addresses.contains(&listen) {
            return Ok(listen);
        }
        let listener = TcpListener::bind(listen).await.with_context(|| format!("failed to listen on {listen}"))?;
        let address = listener.local_addr().context("failed to read an address")?;
        self.addresses.push(address);
        let (weather, counts) = (self.weather.subscribe(), Arc::clone(&self.counts));
        self.listening.spawn(async move {
            let mut passing = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                while passing.try_join_next().is_some() {}
                let passage = Passage { weather: weather.clone(), counts: Arc::clone(&counts) };
                // How a connection ends is for the two at its ends to see.
                passing.spawn(async move { drop(passage.pass(near, backend).await) });
            }
        });
        Ok(address)
    }

    /// Changes the weather.
    pub fn change(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// How often the weather struck: pieces that were late or lost, connections that were reset.
    pub fn strikes(&self) -> u64 {
        self.counts.strikes.load(Ordering::Relaxed)
    }
}

struct Passage {
    weather: watch::Receiver<Weather>,
    counts: Arc<Counts>,
}

impl Passage {
    async fn pass(mut self, mut near: TcpStream, backend: SocketAddr) -> io::Result<()> {
        let mut far = TcpStream::connect(backend).await?;
        for stream in [&near, &far] {
            stream.set_nodelay(true)?;
        }
        let ended = {
            let (near_in, near_out) = near.split();
            let (far_in, far_out) = far.split();
            let weather = self.weather.clone();
            let there = carry(near_in, far_out, &weather, &self.counts);
            let back = carry(far_in, near_out, &weather, &self.counts);
            tokio::select! {
                _ = self.weather.wait_for(|weather| *weather == Weather::Resets) => None,
                both = async { tokio::try_join!(there, back) } => Some(both.map(drop)),
            }
        };
        if let Some(ended) = ended {
            return ended;
        }
        self.counts.strikes.fetch_add(1, Ordering::Relaxed);
        // Dropped with this set, a socket ends with RST and not with FIN.
        near.set_zero_linger()?;
        far.set_zero_linger()
    }
}

/// Carries one direction to its end.
async fn carry(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    weather: &watch::Receiver<Weather>,
    counts: &Counts,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = from.read(&mut piece).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        let now = *weather.borrow();
        let wait = match now {
            Weather::Fair | Weather::Resets => Duration::ZERO,
            Weather::Slow(late) => late,
            Weather::Lossy(again) => lost_for(counts.pieces.fetch_add(1, Ordering::Relaxed), again),
        };
        if !wait.is_zero() {
            counts.strikes.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(wait).await;
        }
        to.write_all(&piece[..length]).await?;
    }
}

/// How long the piece with this number is on its way when what is lost is sent again after `again`, then after twice that.
/// By number and not by chance: a run can be repeated. The first is lost, so that none is spared.
fn lost_for(number: u64, again: Duration) -> Duration {
    let (mut number, mut wait, mut next) = (number, Duration::ZERO, again);
    while number % LOST == 0 {
        wait += next;
        next *= 2;
        number /= LOST;
        if number == 0 {
            break;
        }
    }
    wait
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use tokio::time::{Instant, timeout};

    use super::*;

    /// A server that says back what it hears, behind a door.
    async fn echo() -> (Doors, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let backend = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        let mut doors = Doors::default();
        let address = doors.open(([127, 0, 0, 1], 0).into(), backend).await.unwrap();
        (doors, address)
    }

    async fn ask(stream: &mut TcpStream) -> io::Result<Duration> {
        let began = Instant::now();
        stream.write_all(b"hello").await?;
        let mut answer = [0; 5];
        timeout(Duration::from_secs(10), stream.read_exact(&mut answer)).await.expect("an answer, or its end")?;
        assert_eq!(&answer, b"hello");
        Ok(began.elapsed())
    }

    #[tokio::test]
    async fn fair_weather_passes_everything_on() {
        let (doors, address) = echo().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        ask(&mut stream).await.unwrap();
        assert_eq!(doors.strikes(), 0);
    }

    #[rstest]
    #[case::slow(Weather::Slow(Duration::from_millis(50)), Duration::from_millis(100))]
    #[case::lossy(Weather::Lossy(Duration::from_millis(50)), Duration::from_millis(50))]
    #[tokio::test]
    async fn bad_weather_costs_time_and_loses_nothing(#[case] weather: Weather, #[case] at_least: Duration) {
        let (doors, address) = echo().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        ask(&mut stream).await.unwrap();
        doors.change(weather);
        assert!(ask(&mut stream).await.unwrap() >= at_least);
        assert!(doors.strikes() >= 1);
        doors.change(Weather::Fair);
        assert!(ask(&mut stream).await.unwrap() < at_least);
    }

    #[tokio::test]
    async fn resets_end_what_is_open_and_what_is_new_until_they_are_over() {
        let (doors, address) = echo().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        ask(&mut stream).await.unwrap();
        doors.change(Weather::Resets);
        let ended = stream.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::ConnectionReset);
        let mut another = TcpStream::connect(address).await.unwrap();
        assert!(another.read(&mut [0; 1]).await.is_err());
        assert_eq!(doors.strikes(), 2);
        doors.change(Weather::Fair);
        ask(&mut TcpStream::connect(address).await.unwrap()).await.unwrap();
    }

    #[rstest]
    #[case(0, 10)]
    #[case(1, 0)]
    #[case(2, 0)]
    #[case(3, 10)]
    #[case(9, 30)]
    #[case(10, 0)]
    #[case(27, 70)]
    fn a_piece_is_lost_by_its_number(#[case] number: u64, #[case] ms: u64) {
        assert_eq!(lost_for(number, Duration::from_millis(10)), Duration::from_millis(ms));
    }
}
