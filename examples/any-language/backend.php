<?php
// A backend for events over HTTP: an echo to everybody in one room. `php -S 127.0.0.1:8000 backend.php` serves it.

function is_ours(string $signature, string $body): bool
{
    // Whether one of the signatures is ours, and not older than five minutes.
    $secret = (string) getenv('GATEWAYWORKER_EVENTS_SECRET');
    $at = 0;
    $codes = [];
    foreach (explode(',', $signature) as $part) {
        [$name, $value] = explode('=', $part, 2) + [1 => ''];
        if ($name === 't') {
            $at = (int) $value;
        } elseif ($name === 'v1') {
            $codes[] = $value;
        }
    }
    $ours = hash_hmac('sha256', "$at.$body", $secret);
    $equal = fn(string $code): bool => hash_equals($ours, $code);
    return $secret !== '' && abs(time() - $at) < 300 && array_filter($codes, $equal) !== [];
}

$body = file_get_contents('php://input');
if (!is_ours($_SERVER['HTTP_GATEWAYWORKER_SIGNATURE'] ?? '', $body)) {
    http_response_code(401);
    exit;
}
$event = json_decode($body, true);
$calls = match ($event['event']) {
    'connect' => [['call' => 'join_group', 'params' => ['group' => 'room']]],
    'message' => [['call' => 'send_to_group', 'params' => ['group' => 'room', 'message' => $event['message'] ?? '']]],
    default => [],
};
header('Content-Type: application/json');
echo json_encode(['calls' => $calls]);
