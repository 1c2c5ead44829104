method = Gebruikersnaam en wachtwoord
notes = Elk verzoek bevat de gebruikersnaam en het wachtwoord (HTTP Basic-authenticatie). Gebruik een https-adres, zodat niemand onderweg kan meelezen.
basic-username = Gebruikersnaam
basic-username-help = De naam die u van de ontvanger hebt gekregen. Er mag geen dubbele punt in staan.
basic-username-colon = In de gebruikersnaam mag geen dubbele punt staan.
basic-password = Wachtwoord
basic-password-help = Wordt precies zo verstuurd als u het hier invult, met spaties en al.
