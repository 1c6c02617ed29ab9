//! The calls of the GatewayClient, as PHP. `$a` to `$d` are clients, `$gone` is the
//! id of one that is not there.

/// Who is there.
const WHO: &[&str] = &[
    "getAllClientIdCount()",
    "getAllClientCount()",
    "getAllClientIdList()",
    "isOnline($a)",
    "isOnline($d)",
    "isOnline($gone)",
    "isOnline('rubbish')",
];

const UIDS: &[&str] = &[
    "getClientIdByUid('u1')",
    "getClientIdByUid(7)",
    "getClientIdByUid('nobody')",
    "batchGetClientIdByUid(['u1', 7, 'nobody'])",
    "batchGetClientIdByUid([3 => 'u1', 5 => 'u4'])",
    "batchGetClientIdByUid([])",
    "isUidOnline('u1')",
    "isUidOnline('nobody')",
    "isUidsOnline(['u1', '7', 'nobody'])",
    "getUidByClientId($a)",
    "getUidByClientId($d)",
    "getUidByClientId($gone)",
    "getAllUidList()",
    "getAllUidCount()",
];

const GROUPS: &[&str] = &[
    "getAllGroupIdList()",
    "getClientIdCountByGroup('g')",
    "getClientIdCountByGroup('none')",
    "getClientIdCountByGroup()",
    "getClientCountByGroup('g')",
    "batchGetClientIdCountByGroup(['g', '9', 'none'])",
    "batchGetClientIdCountByGroup([9, 'x' => 'g'])",
    "batchGetClientIdCountByGroup([])",
    "getClientIdListByGroup('g')",
    "getClientIdListByGroup(['g', 9])",
    "getClientIdListByGroup(9)",
    "getClientIdListByGroup('none')",
    "getClientIdListByGroup('')",
    "getUidListByGroup('g')",
    "getUidCountByGroup('g')",
    "getClientSessionsByGroup('g')",
    "getClientInfoByGroup('g')",
    "getAllGroupUidList()",
    "getAllGroupUidCount()",
    "getAllGroupClientIdList()",
    "getAllGroupClientIdCount()",
];

const SESSIONS: &[&str] = &[
    "getSession($a)",
    "getSession($d)",
    "getSession($gone)",
    "getSession('rubbish')",
    "getAllClientSessions()",
    "getAllClientSessions('g')",
    "getAllClientInfo()",
];

const SELECT: &[&str] = &[
    "selected(Gateway::select())",
    "selected(Gateway::select(['uid']))",
    "selected(Gateway::select(['groups'], ['groups' => ['g']]))",
    "selected(Gateway::select(['uid'], ['groups' => ['g', '9']]))",
    "selected(Gateway::select(['uid'], ['uid' => ['u1']]))",
    "selected(Gateway::select(['session'], ['client_id' => [$a, $c]]))",
    "selected(Gateway::select(['uid'], ['groups' => []]))",
    "selected(Gateway::select(['nonsense']))",
];

/// What is done, each followed by what each client got, and what is asked after it.
pub(super) const SCRIPT: &[(&[&str], &[&[&str]])] = &[
    (&[], &[WHO, UIDS, GROUPS, SESSIONS, SELECT]),
    (
        &[
            "sendToAll('to all')",
            "sendToAll('大家好 🐘')",
            "sendToAll('')",
            "sendToAll('only', [$a, $c])",
            "sendToAll('none', [])",
            "sendToAll('except', null, [$b])",
            "sendToAll('except', null, $b)",
            "sendToAll('only except', [$a, $b], [$b])",
            "sendToAll(\"\\x81\\x03raw\", null, null, true)",
            "sendToAll(['k' => '值', 'n' => [1, 2.5, true, null]])",
            "sendToAll(42)",
            "sendToAll(1.5)",
            "sendToAll(true)",
            "sendToClient($a, 'to A')",
            "sendToClient($c, ['to' => 'C'])",
            "sendToClient($gone, 'to nobody')",
            "sendToClient('rubbish', 'to nobody')",
            "sendToClient($d, str_repeat('x', 70000))",
        ],
        &[],
    ),
    (
        &[
            "bindUid($a, 'u1')",
            "bindUid($b, 'u1')",
            "bindUid($c, 7)",
            "bindUid($d, 'u4')",
            "bindUid($d, '')",
            "bindUid($d, '0')",
            "bindUid($gone, 'u1')",
        ],
        &[UIDS],
    ),
    (
        &[
            "sendToUid('u1', 'for u1')",
            "sendToUid(7, 'for 7')",
            "sendToUid(['u1', 7, 'nobody'], 'for two')",
            "sendToUid([3 => 'u1', 5 => 'u4'], 'for a map')",
            "sendToUid('nobody', 'for nobody')",
            "joinGroup($a, 'g')",
            "joinGroup($a, 'g')",
            "joinGroup($b, 'g')",
            "joinGroup($a, 9)",
            "joinGroup($c, '9')",
            "joinGroup($d, '房间')",
            "joinGroup($d, '')",
            "joinGroup($d, '0')",
            "joinGroup($gone, 'g')",
        ],
        &[GROUPS, SELECT],
    ),
    (
        &[
            "sendToGroup('g', 'for g')",
            "sendToGroup(9, 'for 9')",
            "sendToGroup(['g', 9], 'for both')",
            "sendToGroup('g', 'not A', [$a])",
            "sendToGroup('g', 'not A', $a)",
            "sendToGroup('房间', 'for the room')",
            "sendToGroup('g', \"\\x81\\x03raw\", null, true)",
            "sendToGroup('none', 'for nobody')",
            "sendToGroup('', 'refused')",
            "setSession($a, ['name' => 'Åsa', 'n' => 1, 'deep' => ['x' => [1, 2], 'f' => 0.1]])",
            "updateSession($a, ['n' => 2, 'deep' => ['x' => [9], 'y' => null], 7 => true])",
            "updateSession($b, ['fresh' => 1])",
            "setSession($c, ['bin' => \"\\x00\\xff\"])",
            "setSession($d, [])",
            "setSession($gone, ['x' => 1])",
            "updateSession($gone, ['x' => 1])",
            "setSocketSession($d, 'a:1:{s:1:\"k\";i:5;}')",
        ],
        &[SESSIONS, SELECT],
    ),
    (
        &[
            "leaveGroup($a, 'g')",
            "leaveGroup($a, 'none')",
            "leaveGroup($gone, 'g')",
            "ungroup(9)",
            "ungroup('none')",
            "ungroup('')",
            "unbindUid($b, 'u1')",
            "unbindUid($gone, 'u1')",
            "bindUid($c, 'u8')",
        ],
        &[UIDS, GROUPS, SELECT],
    ),
    (
        &[
            "closeClient($b)",
            "closeClient($c, 'bye')",
            "closeClient($gone)",
            "closeClient('rubbish')",
            "destoryClient($d)",
            "destoryClient($gone)",
            "destoryCurrentClient()",
        ],
        &[WHO, UIDS, GROUPS, SESSIONS, SELECT],
    ),
];

/// What is asked with another key than the cluster's.
pub(super) const WITH_ANOTHER_KEY: &[&str] = &[
    "getAllClientIdCount()",
    "getSession($a)",
    "isOnline($a)",
    "sendToAll('with another key')",
    "sendToClient($a, 'with another key')",
];
