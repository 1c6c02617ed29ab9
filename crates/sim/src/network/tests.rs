use super::*;

const CALM: NetworkOptions =
    NetworkOptions { delay_ms: 0..=3, slow_percent: 0, capacity: 100..=100, piece_percent: 30 };

/// Two processes, connected.
struct Pair {
    network: Rc<RefCell<Network>>,
    client: Socket,
    server: Option<Socket>,
    /// What has arrived where, in order.
    heard: Vec<&'static str>,
}

impl Pair {
    fn new() -> Self {
        let network = Network::new(1, 2, CALM);
        let client = Network::connect(&network, 0, 1, 7);
        let mut pair = Self { network, client, server: None, heard: Vec::new() };
        pair.run();
        pair
    }

    /// Lets everything happen that is planned.
    fn run(&mut self) {
        loop {
            let event = self.network.borrow_mut().events.pop();
            let Some((at_ms, event)) = event else { return };
            self.network.borrow_mut().now_ms = at_ms;
            match event {
                Event::Deliver(id) => {
                    let arrival = self.network.borrow_mut().deliver(id);
                    match arrival {
                        Some(Arrival::Opening { to: 1, socket, port: 7 }) => {
                            self.server = Some(Network::accept(&self.network, socket));
                        }
                        Some(Arrival::Opening { .. }) => panic!("to the wrong place"),
                        Some(Arrival::Connected(0, _)) => self.heard.push("connected"),
                        Some(Arrival::Readable(0, _)) => self.heard.push("client readable"),
                        Some(_) => self.heard.push("server readable"),
                        None => {}
                    }
                }
                Event::Room(id) => {
                    let process = self.network.borrow_mut().room(id);
                    self.heard.extend(process.map(|_| "room"));
                }
                _ => panic!("nobody asked for that"),
            }
        }
    }

    fn server(&self) -> &Socket {
        self.server.as_ref().unwrap()
    }

    fn read(socket: &Socket) -> (Vec<u8>, ReadOutcome) {
        let mut all = Vec::new();
        let mut buffer = [0; 16];
        loop {
            match socket.try_read(&mut buffer) {
                ReadOutcome::Bytes(n) => all.extend_from_slice(&buffer[..n]),
                end => return (all, end),
            }
        }
    }
}

#[test]
fn bytes_arrive_in_order_and_a_full_buffer_blocks_until_it_is_read() {
    let mut pair = Pair::new();
    assert_eq!(pair.heard, ["connected"]);
    let sent: Vec<u8> = (0..250).collect();
    let (mut rest, mut received) = (&sent[..], Vec::new());
    let mut blocked = 0;
    while !rest.is_empty() {
        match pair.client.try_write(rest) {
            Written::Bytes(n) => rest = &rest[n..],
            Written::Blocked => {
                blocked += 1;
                pair.run();
                received.extend(Pair::read(pair.server()).0);
                pair.heard.clear();
                pair.run();
                assert_eq!(pair.heard, ["room"]);
            }
            Written::Broken => panic!(),
        }
    }
    pair.client.shutdown_write();
    assert_eq!(pair.client.try_write(b"x"), Written::Broken);
    pair.run();
    let (last, end) = Pair::read(pair.server());
    received.extend(last);
    assert_eq!((received, end, blocked), (sent, ReadOutcome::End, 2));
    // The other direction is open still.
    assert_eq!(pair.server().try_write(b"bye"), Written::Bytes(3));
    pair.run();
    assert_eq!(Pair::read(&pair.client), (b"bye".to_vec(), ReadOutcome::Empty));
}

#[test]
fn a_cut_stops_one_direction_and_its_room_until_it_is_healed() {
    let mut pair = Pair::new();
    pair.client.try_write(&[1; 100]);
    assert_eq!(pair.client.try_write(&[2]), Written::Blocked);
    pair.run();
    pair.network.borrow_mut().cut(Path::all(1, 0));
    assert_eq!(Pair::read(pair.server()).0.len(), 100);
    pair.server().try_write(b"unheard");
    pair.heard.clear();
    pair.run();
    assert!(pair.heard.is_empty(), "{:?}", pair.heard);
    assert_eq!(pair.client.try_write(&[2]), Written::Bytes(1));
    pair.run();
    assert_eq!(Pair::read(pair.server()).0, [2]);
    pair.network.borrow_mut().heal(Path::all(1, 0));
    pair.run();
    assert_eq!(Pair::read(&pair.client).0, b"unheard");
}

#[test]
fn a_cut_of_one_port_leaves_the_others() {
    let mut pair = Pair::new();
    for (port, heard) in [(8, &["client readable"][..]), (7, &[])] {
        pair.network.borrow_mut().cut(Path { from: 1, to: 0, port: Some(port) });
        pair.server().try_write(b"x");
        pair.heard.clear();
        pair.run();
        assert_eq!(pair.heard, heard, "port {port}");
    }
    pair.network.borrow_mut().heal_all();
    pair.run();
    assert_eq!(pair.heard, ["client readable"]);
}

#[test]
fn a_dropped_socket_closes_and_one_with_unread_bytes_resets() {
    let mut pair = Pair::new();
    drop(pair.server.take());
    pair.run();
    assert_eq!(Pair::read(&pair.client).1, ReadOutcome::End);

    let mut pair = Pair::new();
    pair.client.try_write(b"unread");
    pair.run();
    drop(pair.server.take());
    pair.run();
    assert_eq!(Pair::read(&pair.client).1, ReadOutcome::Reset);
    assert_eq!(pair.client.try_write(b"x"), Written::Broken);
}

#[test]
fn bytes_to_a_socket_that_is_closed_come_back_as_a_reset_and_wake_who_waits_for_room() {
    let mut pair = Pair::new();
    drop(pair.server.take());
    pair.client.try_write(&[1; 100]);
    assert_eq!(pair.client.try_write(&[1]), Written::Blocked);
    pair.heard.clear();
    pair.run();
    assert!(pair.heard.contains(&"room") && pair.heard.contains(&"client readable"), "{:?}", pair.heard);
    assert_eq!(pair.client.try_write(&[1]), Written::Broken);
}

#[test]
fn a_reset_and_a_crash_are_heard_at_both_ends_and_leave_no_connection() {
    let mut pair = Pair::new();
    pair.client.try_write(b"lost");
    pair.network.borrow_mut().reset_on(Path::all(1, 0));
    pair.run();
    assert_eq!(Pair::read(pair.server()), (Vec::new(), ReadOutcome::Reset));
    assert_eq!(Pair::read(&pair.client).1, ReadOutcome::Reset);

    let mut pair = Pair::new();
    pair.network.borrow_mut().crash(1);
    drop(pair.server.take());
    pair.run();
    assert_eq!(Pair::read(&pair.client).1, ReadOutcome::Reset);
    let Pair { network, client, .. } = pair;
    assert_eq!(network.borrow().connections(), 1);
    drop(client);
    assert_eq!(network.borrow().connections(), 0);
}

#[test]
fn a_refused_connection_is_reset() {
    let network = Network::new(1, 2, CALM);
    let client = Network::connect(&network, 0, 1, 7);
    let mut opened = None;
    loop {
        let event = network.borrow_mut().events.pop();
        let Some((_, Event::Deliver(id))) = event else { break };
        let arrival = network.borrow_mut().deliver(id);
        if let Some(Arrival::Opening { socket, .. }) = arrival {
            network.borrow_mut().refuse(socket);
            opened = Some(socket);
        }
    }
    assert!(opened.is_some());
    assert_eq!(Pair::read(&client).1, ReadOutcome::Reset);
    drop(client);
    assert_eq!(network.borrow().connections(), 0);
}
