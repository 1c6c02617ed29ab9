<?php
// The benchmark protocol, on the original: it returns E…, sends B… to all, "J<group> " joins, "L<group> " leaves,
// "G<group> …" goes to the group, and S is answered with the number of sessions.
namespace Bench;

use GatewayWorker\Lib\Gateway;

class Events
{
    public static function onConnect($client_id)
    {
        Gateway::sendToClient($client_id, '{"type":"welcome","client_id":"' . $client_id . '"}');
    }

    public static function onMessage($client_id, $message)
    {
        switch ($message[0] ?? '') {
            case 'E':
                Gateway::sendToClient($client_id, $message);
                break;
            case 'B':
                Gateway::sendToAll($message);
                break;
            case 'J':
                Gateway::joinGroup($client_id, self::group($message));
                break;
            case 'L':
                Gateway::leaveGroup($client_id, self::group($message));
                break;
            case 'G':
                Gateway::sendToGroup(self::group($message), $message);
                break;
            case 'S':
                Gateway::sendToClient($client_id, 'S' . count(Gateway::getAllClientSessions()));
                break;
        }
    }

    private static function group(string $message): string
    {
        return explode(' ', substr($message, 1), 2)[0];
    }
}
