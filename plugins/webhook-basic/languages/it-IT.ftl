method = Nome utente e password
notes = Ogni richiesta contiene il nome utente e la password (autenticazione HTTP Basic). Usate un indirizzo https, così nessuno può leggerli lungo la strada.
basic-username = Nome utente
basic-username-help = Il nome che vi ha dato il destinatario. Non può contenere due punti.
basic-username-colon = Il nome utente non può contenere due punti.
basic-password = Password
basic-password-help = Inviata esattamente come la scrivete qui, spazi compresi.
