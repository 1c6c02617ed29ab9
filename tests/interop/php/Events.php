<?php
// The application, as src/app.rs is in Rust: what a client says is a verb and the rest of the line.
use GatewayWorker\Lib\Gateway;

class Events
{
    public static function onConnect($id)
    {
        Gateway::sendToClient($id, "hello $id");
    }

    public static function onWebSocketConnect($id, $data)
    {
        if (isset($data['get']['refuse'])) {
            Gateway::closeClient($id, $data['get']['refuse']);
            return;
        }
        $_SESSION['handshake'] = [
            'uri' => $data['server']['REQUEST_URI'],
            'header' => $data['server']['HTTP_X_INTEROP'] ?? null,
            'query' => $data['get'],
            'cookie' => $data['cookie'],
        ];
    }

    public static function onMessage($id, $message)
    {
        [$verb, $rest] = explode(' ', $message, 2) + ['', ''];
        [$first, $second] = explode(' ', $rest, 2) + ['', ''];
        $name = $_SESSION['name'] ?? '?';
        $answer = fn (string $text) => Gateway::sendToClient($id, $text);
        switch ($verb) {
            case 'login':
                $_SESSION['name'] = $rest;
                Gateway::bindUid($id, $rest);
                Gateway::joinGroup($id, 'lobby');
                return $answer("logged in $rest");
            case 'say':
                return Gateway::sendToAll("$name: $rest");
            case 'join':
                Gateway::joinGroup($id, $rest);
                return $answer("joined $rest");
            case 'leave':
                Gateway::leaveGroup($id, $rest);
                return $answer("left $rest");
            case 'group':
                return Gateway::sendToGroup($first, "$name to $first: $second");
            case 'others':
                return Gateway::sendToGroup($first, "$name to the others: $second", [$id]);
            case 'uid':
                return Gateway::sendToUid($first, "$name to you: $second");
            case 'members':
                return $answer('members ' . Gateway::getClientIdCountByGroup($rest));
            case 'uid-of':
                return $answer('uid ' . Gateway::getUidByClientId($rest));
            case 'only':
                return Gateway::sendToAll($second, [$first]);
            case 'except':
                return Gateway::sendToAll($second, null, [$first]);
            case 'set':
                Gateway::setSession($first, json_decode($second, true));
                return $answer('set');
            case 'update':
                Gateway::updateSession($first, json_decode($second, true));
                return $answer('updated');
            case 'ungroup':
                Gateway::ungroup($rest);
                return $answer("ungrouped $rest");
            case 'unbind':
                Gateway::unbindUid($id, $rest);
                return $answer("unbound $rest");
            case 'survey':
                return $answer(json_encode(self::survey($id), JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES));
            case 'quit':
                return Gateway::closeCurrentClient($rest);
            case 'kick':
                return Gateway::closeClient($first, $second);
            case 'destroy':
                return Gateway::destoryClient($rest);
            case 'count':
                $_SESSION['count'] = ($_SESSION['count'] ?? 0) + 1;
                return $answer('count ' . $_SESSION['count']);
            case 'handshake':
                return $answer(json_encode($_SESSION['handshake'] ?? null, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES));
            case 'write':
                $_SESSION = json_decode($rest, true);
                return $answer('written');
            case 'put':
                $_SESSION[$first] = json_decode($second, true);
                return $answer('put');
            case 'remove':
                unset($_SESSION[$rest]);
                return $answer('removed');
            case 'merge':
                Gateway::updateSession($id, json_decode($rest, true));
                return $answer('merged');
            case 'dump':
                return $answer(bin2hex(serialize($_SESSION ?? [])));
            case 'recall':
                return $answer(bin2hex(serialize(Gateway::getSession($rest))));
            case 'worker':
                return $answer('php');
            default:
                return Gateway::sendToClient($id, $message);
        }
    }

    /** All that a handler can ask of the gateways, asked once. */
    private static function survey($id): array
    {
        $sorted = function (array $items) { $items = array_map('strval', array_values($items)); sort($items); return $items; };
        $map = function (array $items) { ksort($items, SORT_STRING); return (object) $items; };
        $names = fn (array $sessions) => $map(array_map(fn ($session) => $session['name'] ?? null, $sessions));
        return [
            'clients' => Gateway::getAllClientIdCount(),
            'ids' => $sorted(Gateway::getAllClientIdList()),
            'ids of room' => $sorted(Gateway::getClientIdListByGroup('room')),
            'uids' => $sorted(Gateway::getAllUidList()),
            'uid count' => Gateway::getAllUidCount(),
            'uids of room' => $sorted(Gateway::getUidListByGroup('room')),
            'uid count of room' => Gateway::getUidCountByGroup('room'),
            'groups' => $sorted(Gateway::getAllGroupIdList()),
            'uid counts' => $map(Gateway::getAllGroupUidCount()),
            'client counts' => $map(Gateway::getAllGroupClientIdCount()),
            'ids of Bob' => $sorted(Gateway::getClientIdByUid('Bob')),
            'online' => array_map('boolval', [Gateway::isOnline($id), Gateway::isUidOnline('Bob'), Gateway::isUidOnline('No')]),
            'names' => $names(Gateway::getAllClientSessions()),
            'names in room' => $names(Gateway::getClientSessionsByGroup('room')),
        ];
    }

    public static function onClose($id)
    {
        if (isset($_SESSION['name'])) Gateway::sendToGroup('lobby', "gone $_SESSION[name]");
    }
}
