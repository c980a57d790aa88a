"""Changes of users, their logins, passwords and API keys.

What depends on whether an account exists does the same work either way, down to the rows it writes: neither text nor
status nor time tells it.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.hashers import check_password, make_password
from django.contrib.auth.models import update_last_login
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils import timezone
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework_simplejwt.exceptions import InvalidToken, TokenError

from backend.accounts import attempts, links, tokens
from backend.accounts.attempts import Attempt
from backend.accounts.mailboxes import normalise_login
from backend.accounts.models import ApiKey, Scope, TokenFamily, User
from backend.accounts.selectors import by_email, digest_of, find_by_login
from backend.accounts.tokens import RefreshToken
from backend.api.errors import Conflict
from backend.audit.models import Action
from backend.audit.services import record
from backend.outbox.models import Mail
from backend.outbox.services import enqueue
from backend.throttling import throttles

logger = logging.getLogger(__name__)

KEY_START = "fn_"
KEY_BYTES = 32
SHOWN = len(KEY_START) + 8  # characters of a key that lists show; of its 256 bits they tell 48
MOST_KEYS = 50  # of one user
USE_IS_NOTED_EVERY = timedelta(minutes=1)
MAILS_TOGETHER = 3  # of the accounts of an address that a request for mail is about, the first and the last
NOBODY = UUID(int=0)


def sign_up(request: Request, username: str, email: str, password: str) -> User:
    """Create a user and queue the mail that asks to verify the address, in one transaction.

    ValidationError when another request took the name a moment earlier. Where the address is another account's, its
    owner gets a mail that says so; the answer is the same (docs/adr/0011).
    """
    user = User(username=username, email=email, password=make_password(password))
    try:
        with transaction.atomic():
            user.save()
            _ask_to_verify(user)
            record(Action.SIGNUP, request, user)
    except IntegrityError:
        raise ValidationError({"username": ["This name is taken."]}) from None
    return user


def check_credentials(request: Any, login: str, password: str) -> User:
    """The active user with this name or address and password.

    AuthenticationFailed (401) with one text for every reason, TooMany (429) after too many of them.
    """
    login = normalise_login(login)  # or each spelling of an address would have its own tries
    user = find_by_login(login)
    attempt = Attempt.at(login, user, request.META.get("REMOTE_ADDR", ""))
    attempt.begin()
    if user is None:
        make_password(password)  # a name that nobody has costs the same hash
    if user is None or not check_password(password, user.password) or not user.is_active:
        try:
            record(Action.LOGIN_FAILED, request, user)
        except IntegrityError:  # the account was erased in this moment
            record(Action.LOGIN_FAILED, request)
        raise _no_account()
    attempt.succeeded()
    return user


def log_in(request: Request, login: str, password: str) -> tuple[User, RefreshToken]:
    """The user and a fresh refresh token. AuthenticationFailed (401), TooMany (429), PermissionDenied (403)."""
    user = check_credentials(request, login, password)
    require_verified(user)
    with transaction.atomic():
        if not User.objects.select_for_update(no_key=True).filter(pk=user.pk, password=user.password).first():
            raise _no_account()  # it was erased, or its password changed, in this moment
        token = tokens.issue(user)
        update_last_login(User, user)
        record(Action.LOGIN, request, user)
    return user, token


def _no_account() -> AuthenticationFailed:
    return AuthenticationFailed("No active account fits these credentials.", "invalid_credentials")


def require_verified(user: User) -> None:
    """PermissionDenied (403) for an address that was not verified, where REQUIRE_VERIFIED_EMAIL is on."""
    if settings.ENV.require_verified_email and not user.is_verified:
        raise PermissionDenied(
            "Verify your address first: open the link that was mailed to you, or have it sent again.",
            "email_not_verified",
        )


def refresh(request: Request, text: str) -> RefreshToken:
    """The next refresh token. InvalidToken (401), which also ends the login when the token was used before;
    PermissionDenied (403), and the token is as good as before.
    """
    try:
        return tokens.rotate(text, permit=require_verified)
    except tokens.Reused as reused:
        if reused.newly and reused.family is not None:
            record(Action.TOKEN_REUSED, request, reused.family.user)
        raise InvalidToken("This token was used before. Sign in again.") from None
    except TokenError as error:
        raise InvalidToken("This token is not valid, or not any more. Sign in again.") from error


def log_out(request: Request, refresh: str, *, everywhere: bool) -> None:
    """End the login that this token belongs to, or all of its user's. InvalidToken (401)."""
    try:
        _, family = tokens.read(refresh)
    except TokenError as error:
        raise InvalidToken("This token is not valid, or not any more.") from error
    if family.ended_at is None:  # otherwise it is done; what was ended ends no other
        end_login(request, family.user, family.pk, everywhere=everywhere)


def end_login(request: Request, user: User, family: UUID, *, everywhere: bool) -> None:
    with transaction.atomic():
        ended = tokens.end_all(user, "logout") if everywhere else tokens.end_family(family, "logout")
        if ended:
            record(Action.LOGOUT, request, user, everywhere=everywhere)


def end_logins_of(request: HttpRequest, user: User) -> int:
    """End every login of somebody else; how many there were."""
    with transaction.atomic():
        ended = tokens.end_all(user, "operator")
        record(Action.LOGOUT, request, user, everywhere=True, by=request.user.pk)
    return ended


def end_family_of(request: HttpRequest, family: TokenFamily) -> bool:
    """End a login of somebody else; whether it had not ended before."""
    with transaction.atomic():
        ended = tokens.end_family(family.pk, "operator")
        if ended:
            record(Action.LOGOUT, request, family.user, everywhere=False, by=request.user.pk)
    return ended


def require_password(request: Request, user: User, password: str | None, field: str = "password") -> None:
    """That who holds the token also knows the password. ValidationError (400), TooMany (429)."""
    if not password:
        raise ValidationError({field: ["Give your password for this."]})
    attempt = Attempt.again(user, request.META.get("REMOTE_ADDR", ""))
    attempt.begin()
    if not check_password(password, user.password):
        raise ValidationError({field: ["This is not your password."]})
    attempt.succeeded()


def change_password(request: Request, user: User, old: str, new: str) -> RefreshToken:
    """Set another password; every token from before is dead. Returns a new one. ValidationError, TooMany, Conflict."""
    require_password(request, user, old, "old_password")
    require_good_password(new, user, "new_password")
    if not _replace_password(request, user, new, Action.PASSWORD_CHANGED):
        raise Conflict("The password was changed in this moment by another request.", "changed_meanwhile")
    return tokens.issue(user)


def request_reset(request: Request, email: str) -> None:
    """Mail links for another password to the accounts of this address, if there are any. TooMany (429)."""
    _mail_links(request, email, "reset_password", links.RESET, lambda: _owners(email), Action.RESET_REQUESTED)


def request_verification(request: Request, email: str) -> None:
    """Mail the link that verifies this address again, if an account waits for it. TooMany (429)."""

    def waiting() -> list[User]:
        return [user for user in _owners(email) if not user.is_verified]

    _mail_links(request, email, "verify_email", links.VERIFY, waiting, None)


def confirm_reset(request: Request, token: str, password: str) -> None:
    """Set another password by the token of a mail, which also verifies the address. ValidationError (400)."""
    user = links.RESET.read(token)
    if user is None:
        raise bad_link()
    require_good_password(password, user, "new_password")
    if not _replace_password(request, user, password, Action.PASSWORD_RESET):
        raise bad_link()
    attempts.forgive(user)
    _mark_verified(user)


def verify_email(request: Request, token: str) -> User:
    """The user whose address is verified now. ValidationError (400) for any link that is not good."""
    user = links.VERIFY.read(token)
    with transaction.atomic():
        if user is None or not _mark_verified(user):
            raise bad_link()
        record(Action.EMAIL_VERIFIED, request, user)
    return user


def bad_link() -> ValidationError:
    return ValidationError({"token": ["This link is not valid, or not any more. Ask for a new one."]})


def update_profile(request: Request, user: User, changes: dict[str, Any], *, proven: bool = False) -> User:
    """Change what is given of username, email, first_name, last_name; a new address is to be verified again.

    user: as the request's token led to her, which may be a while ago. proven: she has given her password, which another
    address needs. ValidationError (400) when the name was taken a moment earlier, Conflict (409) when another request
    changed the address or the password meanwhile, InvalidToken (401) when it erased the account.
    """
    try:
        with transaction.atomic():
            row = User.objects.select_for_update().filter(pk=user.pk).first()
            if row is None:
                raise InvalidToken("This account does not exist any more.")
            before = row.email
            moved = changes.get("email", before).lower() != before.lower()
            if moved and not (proven and row.password == user.password):
                raise Conflict("The account was changed in this moment by another request.", "changed_meanwhile")
            for name, value in changes.items():
                setattr(row, name, value)
            row.is_verified = row.is_verified and not moved
            row.save(update_fields=[*changes, "is_verified"])
            if moved:
                if before:
                    enqueue("address_changed", before, {"username": row.username}, user=row)
                _ask_to_verify(row)
            record(Action.PROFILE_CHANGED, request, row, fields=sorted(changes))
    except IntegrityError:
        raise ValidationError({"username": ["This name is taken."]}) from None
    return row


def require_good_password(password: str, user: User, field: str) -> None:
    """ValidationError (400) with everything that is wrong with it."""
    try:
        validate_password(password, user)
    except DjangoValidationError as error:
        raise ValidationError({field: error.messages}) from None


def make_api_key(
    user: User,
    name: str,
    scopes: Sequence[Scope],
    expires_at: datetime | None = None,
    *,
    request: Request | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its secret, which is not kept. Conflict (409) when the user has as many as one may have."""
    secret = KEY_START + secrets.token_urlsafe(KEY_BYTES)
    with transaction.atomic():
        # Two at once must not both be the last one.
        if User.objects.select_for_update().filter(pk=user.pk).first() is None:
            raise InvalidToken("This account does not exist any more.")
        if ApiKey.objects.filter(user=user).count() >= MOST_KEYS:
            raise Conflict(f"You have {MOST_KEYS} API keys. Delete one first.", "too_many_keys")
        key = ApiKey.objects.create(
            user=user,
            name=name,
            prefix=secret[:SHOWN],
            digest=digest_of(secret),
            scopes=[scope.value for scope in Scope if scope in scopes],
            expires_at=expires_at,
        )
        record(Action.KEY_MADE, request, user, prefix=key.prefix, scopes=key.scopes)
    return key, secret


def revoke_api_key(request: HttpRequest | Request, key: ApiKey) -> None:
    with transaction.atomic():
        record(Action.KEY_REVOKED, request, key.user, prefix=key.prefix)
        key.delete()


def note_use(key: ApiKey) -> None:
    """Write down when a key was last used, at most once a minute: a request that reads shall not write."""
    now = timezone.now()
    if key.last_used_at is None or now - key.last_used_at >= USE_IS_NOTED_EVERY:
        ApiKey.objects.filter(pk=key.pk, last_used_at=key.last_used_at).update(last_used_at=now)


def note_new_password(request: HttpRequest, user: User) -> None:
    """An operator has set somebody's password: her logins end, and she is told."""
    with transaction.atomic():
        tokens.end_all(user, "operator")
        if user.email:
            enqueue("password_changed", user.email, {"username": user.username}, user=user)
        record(Action.PASSWORD_CHANGED, request, user, by=request.user.pk)


def note_new_address(request: HttpRequest, user: User, before: str) -> None:
    """An operator has set somebody's address: it is told to the one before."""
    with transaction.atomic():
        if before:
            enqueue("address_changed", before, {"username": user.username}, user=user)
        record(Action.PROFILE_CHANGED, request, user, fields=["email"], by=request.user.pk)


def _ask_to_verify(user: User) -> None:
    """Queue the mail for a new address; for one that is another's by proof, a word to its owner instead."""
    if throttles.count("mail_to", user.email.lower()):
        return  # somebody is being pestered; the link can be asked for later
    owner = by_email(user.email).filter(is_verified=True).exclude(pk=user.pk).first()
    context = {"link": links.VERIFY.link(user), "username": (owner or user).username}
    enqueue("address_in_use" if owner else "verify_email", user.email, context, user=owner or user)


def _mail_links(
    request: Request,
    email: str,
    kind: str,
    purpose: links.Purpose,
    find: Callable[[], Sequence[User]],
    action: Action | None,
) -> None:
    """One mail for each of the accounts that are found."""
    throttles.require("mail_to", email.lower())
    try:
        _mail_to(request, email, kind, purpose, find(), action)
    except IntegrityError:  # one of them was erased in this moment
        _mail_to(request, email, kind, purpose, find(), action)


def _mail_to(
    request: Request, email: str, kind: str, purpose: links.Purpose, users: Sequence[User], action: Action | None
) -> None:
    """For nobody, one mail that is taken out again before anybody could send it."""
    with transaction.atomic():
        for user in users or [User(pk=0, username="nobody", email=email)]:
            context = {"link": purpose.link(user), "username": user.username}
            mail = enqueue(kind, user.email, context, user=user if users else None)
        nobodys = Mail.objects.filter(pk=NOBODY if users else mail.pk)
        nobodys._raw_delete(nobodys.db)  # one statement, whether there is anything to delete or not
        if action:
            record(action, request, users[0] if users else None)


def _owners(email: str) -> list[User]:
    """The account that has proved this address; where none has, those that said it first and those that said it last:
    whoever claims somebody's address shall have to do so both before and after her.
    """
    found = by_email(email).filter(is_active=True)
    proven_or_first = list(found[:MAILS_TOGETHER])
    last = list(found.order_by("-pk")[:MAILS_TOGETHER])
    proven = [user for user in proven_or_first if user.is_verified]
    return proven or list({user.pk: user for user in [*proven_or_first, *last]}.values())


def _mark_verified(user: User) -> bool:
    """False when it was verified already, changed meanwhile, or another account's owner proved it first."""
    waiting = User.objects.filter(pk=user.pk, email=user.email, is_verified=False)
    try:
        with transaction.atomic():
            done = bool(waiting.update(is_verified=True))
    except IntegrityError:
        return False
    user.is_verified = user.is_verified or done
    return done


def _replace_password(request: Request, user: User, password: str, action: Action) -> bool:
    """Whether it is set: not when the password or the address changed since the user was read."""
    before, user.password = user.password, make_password(password)
    with transaction.atomic():
        same = User.objects.filter(pk=user.pk, password=before, email=user.email)
        if not same.update(password=user.password):
            return False
        tokens.end_all(user, action.value)
        if user.email:
            enqueue("password_changed", user.email, {"username": user.username}, user=user)
        record(action, request, user)
    return True
