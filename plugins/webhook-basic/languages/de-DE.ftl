method = Benutzername und Passwort
notes = Jede Anfrage enthält den Benutzernamen und das Passwort (HTTP-Basic-Authentifizierung). Verwenden Sie eine https-Adresse, damit unterwegs niemand mitlesen kann.
basic-username = Benutzername
basic-username-help = Der Name, den Sie vom Empfänger erhalten haben. Er darf keinen Doppelpunkt enthalten.
basic-username-colon = Der Benutzername darf keinen Doppelpunkt enthalten.
basic-password = Passwort
basic-password-help = Wird genau so gesendet, wie Sie es hier eingeben, einschließlich Leerzeichen.
